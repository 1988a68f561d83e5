{{/* The table [sign_in]: the values of signIn under their own names, but for the secret, which is a file. */}}
{{- define "sublet.settings.signIn" -}}
{{ omit .Values.signIn "clientSecret" | toYaml }}
{{- end }}

{{/* The ports of the provider's addresses, as JSON: 443 where no address is given. */}}
{{- define "sublet.signIn.ports" -}}
{{- $ports := list -}}
{{- range list "issuer" "token_url" "userdata_url" "jwks_url" -}}
{{- with index $.Values.signIn . -}}
{{- $url := urlParse . -}}
{{- $port := regexFind ":[0-9]+$" $url.host | trimPrefix ":" -}}
{{- $ports = append $ports (int ($port | default (ternary "80" "443" (eq $url.scheme "http")))) -}}
{{- end -}}
{{- end -}}
{{ $ports | uniq | default (list 443) | toJson }}
{{- end }}
