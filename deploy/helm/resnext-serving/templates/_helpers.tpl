{{- define "serving.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "serving.fullname" -}}
{{- $name := include "serving.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- .Values.fullnameOverride | default $full | trunc 54 | trimSuffix "-" }}
{{- end }}

{{- define "serving.selector" -}}
app.kubernetes.io/name: {{ include "serving.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "serving.labels" -}}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{ include "serving.selector" . }}
{{- end }}

{{- define "serving.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "serving.fullname" .) "default") }}
{{- end }}

{{/* What the schema cannot say of several values together. */}}
{{- define "serving.check" -}}
{{- $tls := .Values.tls }}
{{- if not (or .Values.insecure (and $tls.secretName (or .Values.tokens.secretName $tls.clientCaSecretName))) }}
{{- fail "whoever reaches the pods could read and call: set tls.secretName with tokens.secretName or tls.clientCaSecretName, or insecure: true where the network keeps strangers out" }}
{{- end }}
{{- if and $tls.clientCaSecretName (not $tls.secretName) }}
{{- fail "tls.clientCaSecretName needs tls.secretName: clients show certificates only to a server that has one" }}
{{- end }}
{{- if and $tls.clientCaSecretName (not $tls.probeSecretName) }}
{{- fail "tls.clientCaSecretName needs tls.probeSecretName: the kubelet's probe has to show a certificate, too" }}
{{- end }}
{{- if and .Values.tokens.secretName (not $tls.secretName) }}
{{- fail "tokens.secretName needs tls.secretName: tokens would cross the network in the clear" }}
{{- end }}
{{- if not (or .Values.models.repository .Values.models.bundles) }}
{{- fail "there is nothing to serve: set models.repository or models.bundles" }}
{{- end }}
{{- if gt (int .Values.autoscaling.min) (int .Values.autoscaling.max) }}
{{- fail (printf "autoscaling.min is %v, autoscaling.max only %v" .Values.autoscaling.min .Values.autoscaling.max) }}
{{- end }}
{{- end }}

{{/* Ready: the kubelet's gRPC probes speak no TLS, its HTTPS probes show no certificate. */}}
{{- define "serving.ready" -}}
{{- if .Values.tls.clientCaSecretName }}
exec:
  command: [python, /opt/health.py]
{{- else if .Values.tls.secretName }}
httpGet:
  port: http
  path: {{ with .Values.probes.model }}/v2/models/{{ . }}/ready{{ else }}/readyz{{ end }}
  scheme: HTTPS
{{- else }}
grpc:
  port: 50051
  service: {{ .Values.probes.model | quote }}
{{- end }}
{{- end }}
