{{/* With SQLite, api and meter open the same file: they must be on one node. The api follows the meter; what the
     values ask for besides still holds. */}}
{{- define "sublet.besideMeter" -}}
{{- $affinity := deepCopy .Values.api.affinity -}}
{{- $pods := $affinity.podAffinity | default dict -}}
{{- $term := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (include "sublet.selector" (list . "meter") | fromYaml)) -}}
{{- $required := append ($pods.requiredDuringSchedulingIgnoredDuringExecution | default list) $term -}}
{{- $_ := set $affinity "podAffinity" (merge (dict "requiredDuringSchedulingIgnoredDuringExecution" $required) $pods) -}}
{{ toYaml $affinity }}
{{- end }}
