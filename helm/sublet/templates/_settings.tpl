{{/* sublet.toml: the settings of the values, those that follow from other values, pools, flavors and signing in. */}}

{{- define "sublet.settings" -}}
sublet.toml: |
  {{- include "sublet.toml.lines" .Values.settings | trim | nindent 2 }}
  {{- include "sublet.toml.lines" (include "sublet.settings.derived" . | fromYaml) | trim | nindent 2 }}
  {{- if include "sublet.oauth" . }}

  [sign_in]
  {{- include "sublet.toml.lines" (include "sublet.settings.signIn" . | fromYaml) | trim | nindent 2 }}
  {{- end }}
  {{- range .Values.pools }}

  [[pools]]
  {{- include "sublet.toml.lines" . | trim | nindent 2 }}
  {{- end }}
  {{- range .Values.flavors }}

  [[flavors]]
  {{- include "sublet.toml.lines" . | trim | nindent 2 }}
  {{- end }}
{{- if .Values.hub.extraConfig }}
extra_config.py: |
  {{- .Values.hub.extraConfig | nindent 2 }}
{{- end }}
{{- end }}

{{/* What a lease's pod is made from. */}}
{{- define "sublet.settings.derived" -}}
{{- $notebook := .Values.notebook -}}
kube_notebook_image: {{ include "sublet.image" (list . $notebook.image) | quote }}
kube_warden_image: {{ include "sublet.image" (list . $notebook.wardenImage) | quote }}
kube_image_pull_policy: {{ $notebook.image.pullPolicy }}
kube_image_pull_secrets:
  {{- range .Values.imagePullSecrets }}
  - {{ .name | quote }}
  {{- else }} []
  {{- end }}
kube_home_gib: {{ int $notebook.home.gib }}
{{- with $notebook.home.storageClass }}
kube_home_storage_class: {{ . | quote }}
{{- end }}
{{- with include "sublet.models.claim" . }}
kube_models_claim: {{ . | quote }}
{{- end }}
{{- if include "sublet.modelLeases" . }}
kube_vllm_image: {{ include "sublet.image" (list . .Values.models.vllmImage) | quote }}
{{- end }}
{{- if .Values.models.servers }}
kube_model_servers:
  {{- include "sublet.servers.addresses" . | nindent 2 }}
{{- end }}
{{- with include "sublet.priorityClass" (list . "guaranteed") }}
kube_priority_class_guaranteed: {{ . | quote }}
{{- end }}
{{- with include "sublet.priorityClass" (list . "surplus") }}
kube_priority_class_surplus: {{ . | quote }}
{{- end }}
{{- if .Values.hub.extraConfig }}
hub_extra_config: /etc/sublet/extra_config.py
{{- end }}
{{- end }}
