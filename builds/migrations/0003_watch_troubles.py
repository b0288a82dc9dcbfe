from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('builds', '0002_watch_lease'),
    ]

    operations = [
        migrations.AddField(
            model_name='namespacesync',
            name='troubles',
            field=models.PositiveBigIntegerField(default=0, help_text='How often something went wrong that lasted, each outage counted once.'),
        ),
        migrations.AddField(
            model_name='namespacesync',
            name='watch_restarts',
            field=models.PositiveBigIntegerField(default=0, help_text='How often a watch had to be begun anew after something had gone wrong.'),
        ),
    ]
