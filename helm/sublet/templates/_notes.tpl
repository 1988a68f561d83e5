{{/* What is still on a default that production should not have: one line each, as a list. */}}
{{- define "sublet.notes.unfinished" -}}
{{- $found := list -}}
{{- $values := .Values -}}
{{- if not (include "sublet.supported" .) -}}
{{- $found = append $found (printf "Kubernetes here is %s. Sublet is made for 1.30 and newer: before 1.29 the warden of a lease is an ordinary container, and before 1.25 nothing enforces Pod Security." .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if $values.existingHub.enabled -}}
{{- else if not (include "sublet.oauth" .) -}}
{{- if eq ($values.settings.authenticator | default "shared-password") "shared-password" -}}
{{- $found = append $found "signIn.provider: people sign in with one password that all share, under any name they like." -}}
{{- end -}}
{{- else if $values.signIn.allow_all -}}
{{- $found = append $found "signIn.allow_all: everybody who has an account at the provider may use the platform." -}}
{{- end -}}
{{- if not (include "sublet.postgresql" .) -}}
{{- $found = append $found "database.existingSecret: the books are in SQLite on one disk, with one api and one meter. PostgreSQL allows several." -}}
{{- end -}}
{{- if $values.existingHub.enabled -}}
{{- else if not (or $values.ingress.enabled $values.httpRoute.enabled) -}}
{{- $found = append $found (printf "ingress, httpRoute: there is no way in with TLS (proxy.service.type is %s)." $values.proxy.service.type) -}}
{{- else if and $values.ingress.enabled (not $values.ingress.tls) -}}
{{- $found = append $found "ingress.tls: passwords and notebooks travel in the clear, unless something before the Ingress ends TLS." -}}
{{- end -}}
{{- $gpus := 0 -}}
{{- range $values.pools }}{{ $gpus = add $gpus (int (.capacity | default 0)) }}{{ end -}}
{{- if eq (int $gpus) 0 -}}
{{- $found = append $found "pools, flavors: there is no GPU to lease." -}}
{{- end -}}
{{- if not $values.settings.contact -}}
{{- $found = append $found "settings.contact: people are told to ask \"the administrator of this platform\" for more quota." -}}
{{- end -}}
{{- if not $values.networkPolicy.create -}}
{{- $found = append $found "networkPolicy.create: users' servers reach all that pods reach, the cloud's metadata among it." -}}
{{- else -}}
{{- if not $values.networkPolicy.metricsFrom -}}
{{- $found = append $found "networkPolicy.metricsFrom: nobody may scrape the metrics." -}}
{{- end -}}
{{- end -}}
{{- if not (or $values.image.digest $values.notebook.image.digest) -}}
{{- $found = append $found "image.digest, notebook.image.digest: images are named by tags, which may come to mean something else." -}}
{{- end -}}
{{- range $found }}
- {{ . }}
{{- end -}}
{{- end }}

{{/* Where people reach the platform, as far as the values tell. */}}
{{- define "sublet.notes.address" -}}
{{- if and .Values.ingress.enabled .Values.ingress.hosts -}}
{{ ternary "https" "http" (not (empty .Values.ingress.tls)) }}://{{ first .Values.ingress.hosts }}/
{{- else if and .Values.httpRoute.enabled .Values.httpRoute.hostnames -}}
https://{{ first .Values.httpRoute.hostnames }}/
{{- end -}}
{{- end }}
