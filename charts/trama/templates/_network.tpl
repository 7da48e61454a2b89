{{- /* A rule of egress. (peers, ports); no peers: any address. */ -}}
{{- define "trama.egress" -}}
- ports:
  {{- range index . 1 }}
    - {protocol: TCP, port: {{ int . }}}
  {{- end }}
  {{- with index . 0 }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- /* A rule of ingress. (peers, port); no peers: any address. */ -}}
{{- define "trama.ingress" -}}
- ports:
    - {protocol: TCP, port: {{ index . 1 }}}
  {{- with index . 0 }}
  from:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}

{{- /* Pods of this release. (root, component) */ -}}
{{- define "trama.peer" -}}
{{- list (dict "podSelector" (dict "matchLabels" (include "trama.selector" . | fromYaml))) | toJson -}}
{{- end -}}

{{- /* What everybody needs: names, PostgreSQL, NATS, the collector. */ -}}
{{- define "trama.egressOfAll" -}}
{{- $n := .Values.networkPolicy -}}
{{- $database := $n.database.to -}}
{{- $nats := $n.nats.to -}}
{{- if .Values.trial.enabled -}}
{{- $database = include "trama.peer" (list . "postgres") | fromJsonArray -}}
{{- $nats = include "trama.peer" (list . "nats") | fromJsonArray -}}
{{- end -}}
- ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
  {{- with $n.dns }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{ include "trama.egress" (list $database (list $n.database.port)) }}
{{ include "trama.egress" (list $nats (list $n.nats.port)) }}
{{- if (.Values.config.bus | default dict).monitor_url }}
{{ include "trama.egress" (list $nats (list $n.nats.monitorPort)) }}
{{- end }}
{{- if (.Values.config.telemetry | default dict).otlp_endpoint }}
{{ include "trama.egress" (list $n.otlp.to (list $n.otlp.port)) }}
{{- end }}
{{- end -}}

{{- /* The internet without what only looks like it. (root, ports) */ -}}
{{- define "trama.egressOutside" -}}
{{- $o := (index . 0).Values.networkPolicy.outside -}}
- ports:
  {{- range index . 1 }}
    - {protocol: TCP, port: {{ int . }}}
  {{- end }}
  to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except:
          {{- toYaml $o.except | nindent 10 }}
    {{- if $o.ipv6 }}
    - ipBlock: {cidr: "::/0", except: ["::1/128", "fc00::/7", "fe80::/10"]}
    {{- end }}
{{- with $o.extra }}
{{ toYaml . }}
{{- end }}
{{- end -}}
