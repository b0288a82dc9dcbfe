from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('builds', '0001_first_tables'),
    ]

    operations = [
        migrations.CreateModel(
            name='WatchLease',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('holder', models.CharField(blank=True, help_text='Who leads; empty: nobody.', max_length=128)),
                ('fence', models.PositiveBigIntegerField(default=0, help_text='Rises with every change of leader: tells a term from all before it.')),
                ('taken_at', models.DateTimeField(null=True)),
                ('expires_at', models.DateTimeField(help_text="By the database's clock.", null=True)),
            ],
            options={
                'default_permissions': ('view',),
                'constraints': [models.CheckConstraint(condition=models.Q(('pk', 1)), name='lease_is_single')],
            },
        ),
    ]
