{{- define "trama.services" -}}
{{- list "ingest" "identity-resolution" "case" "routing" "survey" "notification" | toJson -}}
{{- end -}}

{{- define "trama.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 40 | trimSuffix "-" -}}
{{- end -}}

{{- define "trama.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains (include "trama.name" .) .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "trama.name" .) | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- /* Labels that never change: what selectors use. (root, component) */ -}}
{{- define "trama.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "trama.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end -}}

{{- define "trama.labels" -}}
{{- $root := index . 0 -}}
{{ include "trama.selector" . }}
app.kubernetes.io/part-of: trama
app.kubernetes.io/version: {{ default $root.Chart.AppVersion $root.Values.image.tag | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* What holds for a service: defaults, then its own. (root, name) -> JSON */ -}}
{{- define "trama.service" -}}
{{- $root := index . 0 -}}
{{- $own := index $root.Values.services (index . 1) | default dict -}}
{{- mergeOverwrite (deepCopy $root.Values.defaults) (deepCopy $own) | toJson -}}
{{- end -}}

{{- /* Names of the services that are installed -> JSON */ -}}
{{- define "trama.enabled" -}}
{{- $root := . -}}
{{- $names := list -}}
{{- range include "trama.services" . | fromJsonArray -}}
{{- if (include "trama.service" (list $root .) | fromJson).enabled -}}
{{- $names = append $names . -}}
{{- end -}}
{{- end -}}
{{- $names | toJson -}}
{{- end -}}

{{- /* Image of a component. (root, component, {repository, tag, digest}) */ -}}
{{- define "trama.image" -}}
{{- $root := index . 0 -}}
{{- $own := index . 2 -}}
{{- $binary := index . 1 | eq "trama" | ternary "trama" (printf "trama-%s" (index . 1)) -}}
{{- $repository := $own.repository | default (printf "%s/%s" $root.Values.image.registry $binary) -}}
{{- if $own.digest -}}
{{- printf "%s@%s" $repository $own.digest -}}
{{- else -}}
{{- printf "%s:%s" $repository ($own.tag | default $root.Values.image.tag | default $root.Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- /* Names of the Secrets with credentials: ours in a trial, yours otherwise. */ -}}
{{- define "trama.databaseSecret" -}}
{{- .Values.trial.enabled | ternary (printf "%s-trial" (include "trama.fullname" .)) .Values.database.existingSecret -}}
{{- end -}}
{{- define "trama.natsSecret" -}}
{{- .Values.trial.enabled | ternary (printf "%s-trial" (include "trama.fullname" .)) .Values.nats.existingSecret -}}
{{- end -}}
{{- define "trama.authSecret" -}}
{{- .Values.trial.enabled | ternary (printf "%s-trial" (include "trama.fullname" .)) .Values.auth.existingSecret -}}
{{- end -}}

{{- define "trama.serviceAccount" -}}
{{- $service := index . 2 -}}
{{- $service.serviceAccount.name | default (printf "%s-%s" (include "trama.fullname" (index . 0)) (index . 1)) -}}
{{- end -}}

{{- /* The accounts of all services, as subjects. */ -}}
{{- define "trama.accounts" -}}
{{- $root := . -}}
{{- range $name := include "trama.enabled" . | fromJsonArray }}
{{- $service := include "trama.service" (list $root $name) | fromJson }}
- {kind: ServiceAccount, name: {{ include "trama.serviceAccount" (list $root $name $service) }}, namespace: {{ $root.Release.Namespace }}}
{{- end }}
{{- end -}}

{{- /* Restricted Pod Security, the container's part. */ -}}
{{- define "trama.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities: {drop: [ALL]}
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- /* The pod's part. */ -}}
{{- define "trama.podSecurity" -}}
{{- $uid := int .Values.pods.uid -}}
{{- $ours := dict "runAsNonRoot" true "runAsUser" $uid "runAsGroup" $uid "fsGroup" $uid "fsGroupChangePolicy" "OnRootMismatch" "seccompProfile" (dict "type" "RuntimeDefault") -}}
{{- toYaml (mergeOverwrite $ours (deepCopy .Values.pods.securityContext)) -}}
{{- end -}}

{{- define "trama.pullSecrets" -}}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}
