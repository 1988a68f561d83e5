{{/* Values as TOML. Helm reads every number of a values file as a float: 2000000 would be written 2e+06,
     which TOML takes for a float too. Whole numbers are therefore written as integers here. */}}

{{- define "sublet.toml.value" -}}
{{- if kindIs "map" . -}}
{ {{- range $n, $key := keys . | sortAlpha }}{{ if $n }},{{ end }} {{ toJson $key }} = {{ include "sublet.toml.value" (index $ $key) }}{{ end }} }
{{- else if kindIs "slice" . -}}
[{{- range $n, $each := . }}{{ if $n }}, {{ end }}{{ include "sublet.toml.value" $each }}{{ end }}]
{{- else if kindIs "string" . -}}
{{ toJson . }}
{{- else if kindIs "bool" . -}}
{{ . }}
{{- else if eq (floor .) (float64 .) -}}
{{ printf "%d" (int64 .) }}
{{- else -}}
{{ . }}
{{- end -}}
{{- end }}

{{/* A table's lines, without the keys whose value is null. */}}
{{- define "sublet.toml.lines" -}}
{{- range $key := keys . | sortAlpha }}
{{- $value := index $ $key }}
{{- if not (kindIs "invalid" $value) }}
{{ $key }} = {{ include "sublet.toml.value" $value }}
{{- end }}
{{- end }}
{{- end }}
