{{/* Whether the store lies on each node's own disk: "true" or nothing. */}}
{{- define "sublet.nodeLocal" -}}
{{- $nodeLocal := .Values.models.store.nodeLocal -}}
{{- if and $nodeLocal.enabled (include "sublet.models" .) -}}
{{- if .Values.models.store.existingClaim -}}
{{- fail "models.store.nodeLocal and models.store.existingClaim exclude each other." -}}
{{- end -}}
{{- if has $nodeLocal.namespace (list "" .Release.Namespace) -}}
{{- fail "models.store.nodeLocal.namespace must be a namespace of its own: what fills the nodes' disks may more than the release's pods." -}}
{{- end -}}
true
{{- end -}}
{{- end }}

{{/* Where and as what an object stands that fills the nodes' disks. Takes (list $ suffix). */}}
{{- define "sublet.nodeLocal.metadata" -}}
{{- $root := index . 0 -}}
name: {{ include "sublet.fullname" $root }}-{{ index . 1 }}
namespace: {{ $root.Values.models.store.nodeLocal.namespace }}
labels:
  {{- include "sublet.labels" (list $root "models") | nindent 2 }}
{{- end }}
