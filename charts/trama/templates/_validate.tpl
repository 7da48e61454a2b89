{{- /* What the schema cannot say. Every message names the key and the fix. */ -}}
{{- define "trama.validate" -}}
{{- $root := . -}}
{{- $v := .Values -}}

{{- /* Keys of other charts, and keys that were removed from this one: what to write instead. */ -}}
{{- $hints := dict
  "replicaCount" "services.<name>.replicas, or defaults.replicas for all"
  "replicas" "services.<name>.replicas, or defaults.replicas for all"
  "autoscaling" "services.<name>.autoscaling, or defaults.autoscaling for all"
  "ingress" "expose.<door>.via: ingress; the doors are webhooks, chat, verifications, grpc and grpcWeb"
  "postgresql" "database.existingSecret with your own PostgreSQL; for a look values-trial.yaml"
  "secrets" "resources.secrets for what resources name; database, nats and auth .existingSecret for credentials"
  "podSecurityContext" "pods.securityContext"
  "serviceMonitor" "metrics.monitor: service"
  "env" "services.<name>.env, or defaults.env for all"
-}}
{{- range $key, $instead := $hints -}}
{{- if hasKey $v $key -}}
{{- fail (printf "values: `%s` does not exist here: use %s" $key $instead) -}}
{{- end -}}
{{- end -}}

{{- if not $v.trial.enabled -}}
{{- range $key := list "database" "nats" -}}
{{- if not (index $v $key).existingSecret -}}
{{- fail (printf "values: %s.existingSecret is empty: name the Secret, or look around with values-trial.yaml" $key) -}}
{{- end -}}
{{- end -}}
{{- $keys := $v.database.keys -}}
{{- if and (not $keys.url) (not (and $keys.host $keys.name $keys.user)) -}}
{{- fail "values: database.keys: name `url`, or `host`, `name` and `user` (and `password`, `port`)" -}}
{{- end -}}
{{- if and $keys.url (or $keys.host $keys.name $keys.user $keys.password $keys.port) -}}
{{- fail "values: database.keys: `url` and the parts exclude each other: set `url: \"\"` to use the parts" -}}
{{- end -}}
{{- if and (ne (empty $v.database.tls.certKey) (empty $v.database.tls.keyKey)) -}}
{{- fail "values: database.tls: certKey and keyKey go together" -}}
{{- end -}}
{{- if and $v.nats.keys.creds $v.nats.keys.nkey -}}
{{- fail "values: nats.keys: creds and nkey exclude each other" -}}
{{- end -}}
{{- else -}}
{{- if not $v.trial.password -}}
{{- fail "values: trial.password is empty: use values-trial.yaml" -}}
{{- end -}}
{{- if eq $v.migrations.mode "hook" -}}
{{- fail "values: migrations.mode: a hook runs before the trial's PostgreSQL is there: use `job`" -}}
{{- end -}}
{{- end -}}

{{- if and (or $v.sealing.key $v.sealing.tenants) (not $v.sealing.existingSecret) -}}
{{- fail "values: sealing.existingSecret is empty: name the Secret with the key `sealing.key`" -}}
{{- end -}}

{{- if and (eq $v.tls.mode "secret") (not $v.tls.existingSecret) -}}
{{- fail "values: tls.existingSecret is empty: name the Secret with tls.crt, tls.key and ca.crt, or set tls.mode: certManager" -}}
{{- end -}}
{{- if and (eq $v.tls.mode "certManager") (not $v.tls.certManager.issuerRef.name) -}}
{{- fail "values: tls.certManager.issuerRef.name is empty: which Issuer vouches for our services?" -}}
{{- end -}}
{{- if and (eq $v.tls.mode "off") (ne $v.tls.clients "none") -}}
{{- fail "values: tls.clients asks for certificates, but tls.mode is off" -}}
{{- end -}}

{{- $s3 := $v.objects.s3 -}}
{{- if $s3.bucket -}}
{{- if not (or $s3.region $s3.endpoint) -}}
{{- fail "values: objects.s3.region is empty: where is the bucket?" -}}
{{- end -}}
{{- else if or $s3.region $s3.endpoint $s3.prefix $s3.existingSecret -}}
{{- fail "values: objects.s3.bucket is empty: which bucket is the rest of objects.s3 about?" -}}
{{- end -}}
{{- if and $v.privacy.existingSecret (not (include "trama.sharedObjects" $root)) -}}
{{- fail "values: privacy.existingSecret lets people be exported and erased, but their files would be out of reach of the services that do it: use objects.s3, or objects.persistence with accessMode ReadWriteMany" -}}
{{- end -}}

{{- $cluster := $v.resources.kubernetes -}}
{{- if $cluster.enabled -}}
{{- if include "trama.hasResources" $root -}}
{{- fail "values: resources come from one place: resources.kubernetes, or inline and configMaps" -}}
{{- end -}}
{{- if and $cluster.allNamespaces $cluster.namespaces -}}
{{- fail "values: resources.kubernetes: allNamespaces and namespaces exclude each other" -}}
{{- end -}}
{{- end -}}

{{- $bus := $v.config.bus | default dict -}}
{{- if and (eq ($bus.durability | default "interval") "replicated") (lt (int ($bus.replicas | default 1)) 3) -}}
{{- fail "values: config.bus.durability: `replicated` needs config.bus.replicas of 3 or more" -}}
{{- end -}}
{{- $stage := $v.config.stage | default dict -}}
{{- if le (int ($stage.inbox_days | default 10)) (int ($bus.retention_days | default 7)) -}}
{{- fail "values: config.stage.inbox_days must be more than config.bus.retention_days, or a late redelivery counts twice" -}}
{{- end -}}

{{- $enabled := include "trama.enabled" . | fromJsonArray -}}
{{- if not $enabled -}}
{{- fail "values: every service is switched off" -}}
{{- end -}}
{{- range $name := $enabled -}}
{{- $service := include "trama.service" (list $root $name) | fromJson -}}
{{- $scaling := $service.autoscaling -}}
{{- $partitions := int ($bus.partitions | default 2) -}}
{{- if and (ne $scaling.mode "none") (gt (int $scaling.min) (int $scaling.max)) -}}
{{- fail (printf "values: services.%s.autoscaling: min is more than max" $name) -}}
{{- end -}}
{{- if and (ne $scaling.mode "none") (not (dig "requests" "cpu" "" $service.resources)) -}}
{{- fail (printf "values: services.%s.autoscaling: without resources.requests.cpu there is no percentage of it" $name) -}}
{{- end -}}
{{- if eq $scaling.mode "keda" -}}
{{- if not $v.keda.monitoringEndpoint -}}
{{- fail (printf "values: services.%s.autoscaling.mode: keda needs keda.monitoringEndpoint, such as nats-headless.nats.svc:8222" $name) -}}
{{- end -}}
{{- if gt (int $scaling.max) $partitions -}}
{{- fail (printf "values: services.%s.autoscaling.max is %d, but config.bus.partitions is %d: one pod works in one partition at least" $name (int $scaling.max) $partitions) -}}
{{- end -}}
{{- end -}}
{{- range $other := include "trama.calls" $name | fromJsonArray -}}
{{- if not (has $other $enabled) -}}
{{- fail (printf "values: services.%s asks %s, which is switched off: switch both" $name $other) -}}
{{- end -}}
{{- end -}}
{{- if and (include "trama.calls" $name | fromJsonArray) (not $v.trial.enabled) (not $v.auth.existingSecret) -}}
{{- fail (printf "values: auth.existingSecret is empty, but %s needs a key to ask other services" $name) -}}
{{- end -}}
{{- if eq $name "ingest" -}}
{{- $most := eq $scaling.mode "none" | ternary (int $service.replicas) (int $scaling.max) -}}
{{- if and (gt $most 1) (not (include "trama.sharedObjects" $root)) -}}
{{- fail "values: more than one ingest needs objects.s3.bucket, or objects.persistence.enabled with accessMode ReadWriteMany: all of them read and write the attachments" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- $expose := $v.expose -}}
{{- range $door := list "webhooks" "chat" "verifications" "grpc" "grpcWeb" -}}
{{- $d := index $expose $door -}}
{{- if and (ne $d.via "none") (not $d.hostnames) -}}
{{- fail (printf "values: expose.%s.hostnames is empty: under which host name is it reached?" $door) -}}
{{- end -}}
{{- if and (eq $d.via "gateway") (not $d.parentRefs) -}}
{{- fail (printf "values: expose.%s.parentRefs is empty: which Gateway carries it?" $door) -}}
{{- end -}}
{{- if and (ne $d.via "none") (has $door (list "webhooks" "chat")) (not (has "ingest" $enabled)) -}}
{{- fail (printf "values: expose.%s is ingest's door, and ingest is switched off" $door) -}}
{{- end -}}
{{- if and (ne $d.via "none") (eq $door "verifications") (not (has "identity-resolution" $enabled)) -}}
{{- fail "values: expose.verifications is identity-resolution's door, and that is switched off" -}}
{{- end -}}
{{- end -}}
{{- if and (eq $expose.grpc.via "gateway") (eq $expose.grpcWeb.via "gateway") -}}
{{- range $host := $expose.grpc.hostnames -}}
{{- if has $host $expose.grpcWeb.hostnames -}}
{{- fail (printf "values: expose.grpc and expose.grpcWeb share %s: the Gateway API refuses a GRPCRoute and an HTTPRoute on one host name" $host) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
