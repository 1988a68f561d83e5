{{/* The table [sign_in]: the values of signIn under their own names, but for the secret, which is a file. */}}
{{- define "sublet.settings.signIn" -}}
{{ omit .Values.signIn "clientSecret" | toYaml }}
{{- end }}

{{/* The port of the provider, from its issuer's address where there is one. */}}
{{- define "sublet.signIn.port" -}}
{{- $url := urlParse (.Values.signIn.issuer | default "https://provider") -}}
{{- if regexMatch ":[0-9]+$" $url.host -}}{{ regexFind "[0-9]+$" $url.host }}
{{- else -}}{{ ternary "80" "443" (eq $url.scheme "http") }}
{{- end -}}
{{- end }}
