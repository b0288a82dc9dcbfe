"""The records for staff: state is read-only, and what is done goes through the same actions as elsewhere."""

from django.contrib import admin

from builds.admin.builds import BuildAdmin
from builds.admin.records import BuildEventAdmin, NamespaceSyncAdmin, OutgoingEventAdmin, WatchLeaseAdmin
from builds.admin.tokens import ApiTokenAdmin
from builds.models import ApiToken, Build, BuildEvent, NamespaceSync, OutgoingEvent, WatchLease

admin.site.site_header = "Build portal"
admin.site.site_title = "Build portal admin"
admin.site.index_title = "Records"
admin.site.site_url = "/console/"

admin.site.register(Build, BuildAdmin)
admin.site.register(BuildEvent, BuildEventAdmin)
admin.site.register(NamespaceSync, NamespaceSyncAdmin)
admin.site.register(WatchLease, WatchLeaseAdmin)
admin.site.register(OutgoingEvent, OutgoingEventAdmin)
admin.site.register(ApiToken, ApiTokenAdmin)
