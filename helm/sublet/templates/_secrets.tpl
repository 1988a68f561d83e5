{{/* Our secrets: those there are, and new ones for those there are not. They are made once per rendering, since
     two callers (the Secret, and the checksums of it) must see the same. */}}

{{- define "sublet.secrets" -}}
{{- if .Values.secrets.existingSecret -}}
{{ .Values.secrets.existingSecret }}
{{- else -}}
{{- if not (hasKey .Values.secrets "rendered") -}}
{{- $_ := set .Values.secrets "rendered" (include "sublet.secrets.render" .) -}}
{{- end -}}
{{ .Values.secrets.rendered }}
{{- end -}}
{{- end }}

{{- define "sublet.secrets.render" -}}
{{- $old := (lookup "v1" "Secret" .Release.Namespace (include "sublet.secretName" .)).data | default dict -}}
{{- range $name := list "api_token" "admin_token" "audit_key" "cookie_secret" "crypt_key" "gateway_token" "proxy_token" "runner_token" "session_key" "spawner_token" }}
{{ $name }}: {{ index $old $name | default (randBytes 32 | b64dec | printf "%x" | b64enc) }}
{{- end }}
admin_password: {{ index $old "admin_password" | default (randAlphaNum 40 | b64enc) }}
user_password: {{ index $old "user_password" | default (randAlphaNum 20 | b64enc) }}
admin_user: {{ .Values.settings.admin_users | default (list "admin") | first | b64enc }}
{{- end }}

{{/* Which component is shown which secrets. */}}
{{- define "sublet.secrets.hub" -}}
cookie_secret,proxy_token,api_token,spawner_token,runner_token,admin_user,admin_password,user_password,admin_token{{ if include "sublet.models" . }},gateway_token{{ end }}{{ if include "sublet.oauth" . }},crypt_key{{ end }}
{{- end }}
{{- define "sublet.secrets.proxy" -}}proxy_token,runner_token{{- end }}
{{- define "sublet.secrets.api" -}}api_token,session_key,audit_key{{- end }}
{{- define "sublet.secrets.meter" -}}audit_key{{- end }}
{{- define "sublet.secrets.gateway" -}}gateway_token{{- end }}
