{{/* Whether there are models: "true" or nothing. */}}
{{- define "sublet.models" -}}
{{- if .Values.models.catalogue }}true{{ end -}}
{{- end }}

{{/* The claim with the store of models, or nothing. */}}
{{- define "sublet.models.claim" -}}
{{- if .Values.models.store.existingClaim -}}
{{ .Values.models.store.existingClaim }}
{{- else if include "sublet.models" . -}}
{{ include "sublet.fullname" . }}-models
{{- end -}}
{{- end }}

{{/* The catalogue and the licences' texts, as files of a ConfigMap of their own: they may be long. */}}
{{- define "sublet.models.files" -}}
models.toml: |
  {{- .Values.models.catalogue | nindent 2 }}
{{- range $name, $text := .Values.models.licences }}
{{ $name }}: |
  {{- $text | nindent 2 }}
{{- end }}
{{- end }}
