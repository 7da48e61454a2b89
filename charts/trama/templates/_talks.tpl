{{- /*
Who talks to whom: the one table. Addresses (remotes), NetworkPolicies and credentials are made of it.

  calls      other services that are asked over gRPC
  web        has doors that are no gRPC: webhooks, chat and mail; reports of documents' checks
  outside    calls addresses on the internet (providers, media, integrators' hooks)
  relay      sends mail through relays
  secrets    reads what resources name in secretRef
*/ -}}
{{- define "trama.talks" -}}
ingest: {calls: [], web: true, outside: true, relay: false, secrets: true}
identity-resolution: {calls: [], web: true, outside: true, relay: false, secrets: true}
case: {calls: [], web: false, outside: false, relay: false, secrets: false}
routing: {calls: [], web: false, outside: false, relay: false, secrets: false}
survey: {calls: [], web: false, outside: false, relay: false, secrets: false}
notification: {calls: [identity-resolution, ingest], web: false, outside: true, relay: true, secrets: true}
{{- end -}}

{{- define "trama.calls" -}}
{{- (index (include "trama.talks" . | fromYaml) .).calls | toJson -}}
{{- end -}}

{{- define "trama.readsSecrets" -}}
{{- if (index (include "trama.talks" . | fromYaml) .).secrets -}}yes{{- end -}}
{{- end -}}

{{- /* gRPC services by the one that serves them, as in proto/trama. */ -}}
{{- define "trama.apis" -}}
ingest: [trama.ingest.v1.IngestService, trama.ingest.v1.ChatService]
identity-resolution: [trama.identity_resolution.v1.AuditService, trama.identity_resolution.v1.IdentityService, trama.identity_resolution.v1.ImportService, trama.identity_resolution.v1.PrivacyService, trama.identity_resolution.v1.ProfileService, trama.identity_resolution.v1.ReviewService, trama.identity_resolution.v1.VerificationService]
case: [trama.case.v1.CaseService, trama.case.v1.KnowledgeService]
routing: [trama.routing.v1.RoutingService, trama.routing.v1.DeskService, trama.routing.v1.StaffingService, trama.routing.v1.SupervisorService]
survey: [trama.survey.v1.SurveyService]
notification: [trama.notification.v1.NotificationService]
{{- end -}}
