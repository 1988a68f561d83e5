{{- define "sublet.meter.subjects" -}}
- kind: ServiceAccount
  name: {{ include "sublet.fullname" . }}-meter
  namespace: {{ .Release.Namespace }}
{{- end }}
