{{/* Whether there are models: "true" or nothing. */}}
{{- define "sublet.models" -}}
{{- if .Values.models.catalogue }}true{{ end -}}
{{- end }}

{{/* Whether the gateway may run models' servers as leases, in pods that it makes itself: "true" or nothing. */}}
{{- define "sublet.modelLeases" -}}
{{- $account := .Values.settings.model_account | default "none" -}}
{{- if and (include "sublet.models" .) (ne $account "none") }}true{{ end -}}
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
