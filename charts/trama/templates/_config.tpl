{{- /* A value as TOML. JSON texts are TOML texts; whole numbers must not become decimals on the way. */ -}}
{{- define "trama.tomlValue" -}}
{{- if kindIs "map" . -}}
{ {{- $first := true -}}
{{- range $key, $value := . -}}
{{- if not $first }}, {{ end }}{{ $key | toJson }} = {{ include "trama.tomlValue" $value }}{{ $first = false -}}
{{- end -}} }
{{- else if kindIs "slice" . -}}
[{{- range $index, $value := . -}}{{- if $index }}, {{ end }}{{ include "trama.tomlValue" $value }}{{- end -}}]
{{- else if kindIs "float64" . -}}
{{- if eq (floor .) . -}}{{ printf "%.0f" . }}{{- else -}}{{ toJson . }}{{- end -}}
{{- else -}}
{{- toJson . -}}
{{- end -}}
{{- end -}}

{{- /* A table with its fields. (name, fields) */ -}}
{{- define "trama.tomlTable" -}}
[{{ index . 0 }}]
{{- range $key, $value := index . 1 }}
{{ $key | toJson }} = {{ include "trama.tomlValue" $value }}
{{- end }}
{{ end -}}

{{- /* trama.toml of a service: what was given, and what is the chart's business. (root, name) */ -}}
{{- define "trama.toml" -}}
{{- $root := index . 0 -}}
{{- $name := index . 1 -}}
{{- $service := include "trama.service" . | fromJson -}}
{{- $config := deepCopy $root.Values.config -}}
{{- $listen := mergeOverwrite (deepCopy ($config.listen | default dict)) (dict "grpc" "0.0.0.0:8080" "http" "0.0.0.0:8081" "admin" "0.0.0.0:8082") -}}
{{- if include "trama.tls" $root -}}
{{- $tls := dict "cert" "/etc/trama/tls/tls.crt" "key" "/etc/trama/tls/tls.key" -}}
{{- if ne $root.Values.tls.clients "none" -}}
{{- $_ := set $tls "client_ca" "/etc/trama/tls/ca.crt" -}}
{{- $_ := set $tls "client_optional" (eq $root.Values.tls.clients "optional") -}}
{{- end -}}
{{- $_ := set $listen "grpc_tls" $tls -}}
{{- end -}}
{{- $_ := set $config "listen" $listen -}}
{{- /* A margin for what comes after: the startup probe must not end a start that goes well. */ -}}
{{- $_ := set $config "start_wait_seconds" (max 0 (sub (int $root.Values.pods.startupSeconds) 30)) -}}
{{- $auth := deepCopy ($config.auth | default dict) -}}
{{- if or $root.Values.trial.enabled (and $root.Values.auth.existingSecret $root.Values.auth.keys.apiKeys) -}}
{{- $_ := set $auth "api_keys_file" "/etc/trama/auth/api-keys.json" -}}
{{- end -}}
{{- $_ := set $config "auth" $auth -}}
{{- $resources := deepCopy ($config.resources | default dict) -}}
{{- if include "trama.hasResources" $root -}}
{{- /* ..data: in the folder itself every file of a mounted ConfigMap stands three times, twice behind links. */ -}}
{{- $_ := set $resources "dir" "/etc/trama/resources/..data" -}}
{{- end -}}
{{- $cluster := $root.Values.resources.kubernetes -}}
{{- if $cluster.enabled -}}
{{- $_ := set $resources "kubernetes" (dict "enabled" true "namespaces" $cluster.namespaces "all_namespaces" $cluster.allNamespaces "tenants" $cluster.tenants "lease" (include "trama.lease" $root) "snapshot_dir" "/var/lib/trama/resources") -}}
{{- end -}}
{{- if and $root.Values.resources.secrets (include "trama.readsSecrets" $name) -}}
{{- $_ := set $resources "secrets_dir" "/etc/trama/secrets" -}}
{{- end -}}
{{- $_ := set $config "resources" $resources -}}
{{- $objects := dict "dir" "/var/lib/trama/objects" -}}
{{- $s3 := $root.Values.objects.s3 -}}
{{- if $s3.bucket -}}
{{- $bucket := dict "bucket" $s3.bucket "region" $s3.region "endpoint" $s3.endpoint "prefix" $s3.prefix -}}
{{- if $s3.existingSecret -}}
{{- $_ := set $bucket "credentials_dir" "/etc/trama/objects" -}}
{{- end -}}
{{- $_ := set $objects "s3" $bucket -}}
{{- end -}}
{{- $_ := set $config "objects" $objects -}}
{{- with include "trama.calls" $name | fromJsonArray -}}
{{- $remotes := dict -}}
{{- range . -}}
{{- $_ := set $remotes . (printf "%s://%s-%s:8080" (include "trama.tls" $root | empty | ternary "http" "https") (include "trama.fullname" $root) .) -}}
{{- end -}}
{{- if include "trama.tls" $root -}}
{{- $_ := set $config "remote_tls" (dict "ca" "/etc/trama/tls/ca.crt" "cert" "/etc/trama/tls/tls.crt" "key" "/etc/trama/tls/tls.key") -}}
{{- end -}}
{{- $_ := set $config "remotes" $remotes -}}
{{- end -}}
{{- if $root.Values.sealing.existingSecret -}}
{{- $_ := set $config "sealing" (dict "keys_dir" "/etc/trama/sealing" "key" $root.Values.sealing.key "tenants" $root.Values.sealing.tenants) -}}
{{- end -}}
{{- $own := deepCopy ($service.config | default dict) -}}
{{- if eq $name "ingest" -}}
{{- $_ := set $own "smtp_listen" "0.0.0.0:2525" -}}
{{- if $root.Values.expose.smtp.tls.existingSecret -}}
{{- $_ := set $own "smtp_tls" (dict "cert" "/etc/trama/smtp/tls.crt" "key" "/etc/trama/smtp/tls.key") -}}
{{- end -}}
{{- end -}}
{{- range $key, $value := $config -}}
{{- if not (kindIs "map" $value) }}
{{ $key | toJson }} = {{ include "trama.tomlValue" $value }}
{{- end -}}
{{- end }}
{{ range $key, $value := $config -}}
{{- if and (kindIs "map" $value) $value -}}
{{ include "trama.tomlTable" (list $key $value) }}
{{ end -}}
{{- end -}}
{{- if $own -}}
{{ include "trama.tomlTable" (list (printf "services.%s" $name) $own) }}
{{- end -}}
{{- end -}}

{{- /* Whether all services reach the same files: a bucket, or a volume that many nodes may write. */ -}}
{{- define "trama.sharedObjects" -}}
{{- $objects := .Values.objects -}}
{{- if or $objects.s3.bucket (and $objects.persistence.enabled (eq $objects.persistence.accessMode "ReadWriteMany")) -}}yes{{- end -}}
{{- end -}}

{{- /* Whether our doors speak TLS. */ -}}
{{- define "trama.tls" -}}
{{- if ne .Values.tls.mode "off" -}}yes{{- end -}}
{{- end -}}

{{- /* The Secret with the certificate of a service. (root, name) */ -}}
{{- define "trama.tlsSecret" -}}
{{- $root := index . 0 -}}
{{- eq $root.Values.tls.mode "secret" | ternary $root.Values.tls.existingSecret (printf "%s-%s-tls" (include "trama.fullname" $root) (index . 1)) -}}
{{- end -}}

{{- /* The Lease whose holder writes status. */ -}}
{{- define "trama.lease" -}}
{{- include "trama.fullname" . }}-resources
{{- end -}}

{{- /* Namespaces that are watched one by one -> JSON */ -}}
{{- define "trama.watched" -}}
{{- .Values.resources.kubernetes.namespaces | default (list .Release.Namespace) | toJson -}}
{{- end -}}

{{- /* Of which kind the file is by which NATS lets us in, if there is one. */ -}}
{{- define "trama.natsFile" -}}
{{- if not .Values.trial.enabled -}}
{{- if .Values.nats.keys.creds -}}creds{{- else if .Values.nats.keys.nkey -}}nkey{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Whether there are files of resources. */ -}}
{{- define "trama.hasResources" -}}
{{- if or .Values.resources.inline .Values.resources.configMaps -}}yes{{- end -}}
{{- end -}}

{{- /* Whose variables are which: where PostgreSQL and NATS are, and which roots are trusted. (root, service or "") */ -}}
{{- define "trama.env" -}}
{{- $root := index . 0 -}}
{{- $database := $root.Values.database -}}
{{- $keys := $database.keys -}}
{{- $from := include "trama.databaseSecret" $root -}}
{{- if or $root.Values.trial.enabled $keys.url }}
- name: TRAMA_DATABASE_URL
  valueFrom: {secretKeyRef: {name: {{ $from }}, key: {{ $root.Values.trial.enabled | ternary "database-url" $keys.url | quote }}}}
{{- else }}
# The parts stand in the variables of libpq, so that a password may hold any character.
- {name: TRAMA_DATABASE_URL, value: "postgres://"}
{{- range $variable, $key := dict "PGHOST" $keys.host "PGPORT" $keys.port "PGDATABASE" $keys.name "PGUSER" $keys.user "PGPASSWORD" $keys.password }}
{{- with $key }}
- name: {{ $variable }}
  valueFrom: {secretKeyRef: {name: {{ $from }}, key: {{ . | quote }}}}
{{- end }}
{{- end }}
{{- end }}
{{- if not $root.Values.trial.enabled }}
{{- with $database.tls.mode }}
- {name: PGSSLMODE, value: {{ . }}}
{{- end }}
{{- if $database.tls.secret }}
{{- range $variable, $key := dict "PGSSLROOTCERT" $database.tls.caKey "PGSSLCERT" $database.tls.certKey "PGSSLKEY" $database.tls.keyKey }}
{{- with $key }}
- {name: {{ $variable }}, value: {{ printf "/etc/trama/postgres/%s" . | quote }}}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
- name: TRAMA_NATS_URL
  valueFrom: {secretKeyRef: {name: {{ include "trama.natsSecret" $root }}, key: {{ $root.Values.trial.enabled | ternary "nats-url" $root.Values.nats.keys.url | quote }}}}
{{- with include "trama.natsFile" $root }}
- {name: TRAMA_BUS__{{ upper . }}_FILE, value: /etc/trama/nats/{{ . }}}
{{- end }}
{{- if or $root.Values.trust.configMap $root.Values.trust.secret }}
- {name: SSL_CERT_FILE, value: /etc/ssl/certs/ca-certificates.crt}
- {name: SSL_CERT_DIR, value: /etc/trama/trust}
{{- end }}
{{- with $root.Values.privacy.existingSecret }}
- name: TRAMA_PRIVACY__SECRET
  valueFrom: {secretKeyRef: {name: {{ . }}, key: {{ $root.Values.privacy.key | quote }}}}
{{- end }}
{{- if and (index . 1) (include "trama.calls" (index . 1) | fromJsonArray) }}
- name: TRAMA_AUTH__SERVICE_KEY
  valueFrom: {secretKeyRef: {name: {{ include "trama.authSecret" $root }}, key: {{ $root.Values.trial.enabled | ternary "service-key" $root.Values.auth.keys.serviceKey | quote }}}}
{{- end }}
{{- end -}}

{{- /* Volumes and mounts that services and the migrations share. */ -}}
{{- define "trama.sharedMounts" -}}
{{- if and .Values.database.tls.secret (not .Values.trial.enabled) }}
- {name: postgres-tls, mountPath: /etc/trama/postgres, readOnly: true}
{{- end }}
{{- if include "trama.natsFile" . }}
- {name: nats, mountPath: /etc/trama/nats, readOnly: true}
{{- end }}
{{- if or .Values.trust.configMap .Values.trust.secret }}
- {name: trust, mountPath: /etc/trama/trust, readOnly: true}
{{- end }}
{{- end -}}
{{- define "trama.sharedVolumes" -}}
{{- if and .Values.database.tls.secret (not .Values.trial.enabled) }}
- name: postgres-tls
  # A private key: for the owner and our group only.
  secret: {secretName: {{ .Values.database.tls.secret }}, defaultMode: 0440}
{{- end }}
{{- with include "trama.natsFile" . }}
- name: nats
  # Not the URL, which stands in a variable.
  secret: {secretName: {{ include "trama.natsSecret" $ }}, defaultMode: 0440, items: [{key: {{ index $.Values.nats.keys . | quote }}, path: {{ . }}}]}
{{- end }}
{{- if or .Values.trust.configMap .Values.trust.secret }}
- name: trust
  projected:
    sources:
{{- with .Values.trust.configMap }}
      - configMap: {name: {{ . }}}
{{- end }}
{{- with .Values.trust.secret }}
      - secret: {name: {{ . }}}
{{- end }}
{{- end }}
{{- end -}}
