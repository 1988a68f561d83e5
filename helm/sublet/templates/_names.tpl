{{/* Names and labels. Every object's name begins with the full name, so that they sort together. */}}

{{- define "sublet.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end }}

{{/* The release's name, with the chart's unless it says so already. Room is left for the longest suffix. */}}
{{- define "sublet.fullname" -}}
{{- $name := include "sublet.name" . -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* For what belongs to the whole cluster: two namespaces may each have a release of the same name. */}}
{{- define "sublet.clusterName" -}}
{{- $full := include "sublet.fullname" . -}}
{{- if eq $full .Release.Namespace -}}{{ $full }}{{- else -}}
{{- printf "%s-%s" .Release.Namespace $full | trunc 100 | trimSuffix "-" -}}
{{- end -}}
{{- end }}

{{/* Labels that select: they never change over a release's life. Takes (list $ component). */}}
{{- define "sublet.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: {{ include "sublet.name" $root }}
app.kubernetes.io/instance: {{ $root.Release.Name }}
{{- with index . 1 }}
app.kubernetes.io/component: {{ . }}
{{- end }}
{{- end }}

{{/* Labels of an object, the chart's version among them; never on pods, which it would restart. */}}
{{- define "sublet.labels" -}}
{{- $root := index . 0 -}}
{{ include "sublet.selector" . }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- with $root.Values.extraLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "sublet.hubAddress" -}}
{{- if .Values.existingHub.enabled }}{{ .Values.existingHub.address }}{{ else }}http://{{ include "sublet.fullname" . }}-hub:8081{{ end -}}
{{- end }}

{{/* The public address as pods reach it. */}}
{{- define "sublet.publicAddress" -}}
{{- if .Values.existingHub.enabled -}}
{{ .Values.existingHub.publicAddress }}
{{- else -}}
http://{{ include "sublet.fullname" . }}-proxy:{{ int .Values.proxy.service.port }}
{{- end -}}
{{- end }}

{{- define "sublet.secretName" -}}
{{- .Values.secrets.existingSecret | default (printf "%s-secrets" (include "sublet.fullname" .)) -}}
{{- end }}

{{/* An image by its digest where one is given, else by its tag. Takes (list $ image). */}}
{{- define "sublet.image" -}}
{{- $root := index . 0 -}}{{- $image := index . 1 -}}
{{- if $image.digest -}}
{{ $image.repository }}@{{ $image.digest }}
{{- else -}}
{{ $image.repository }}:{{ $image.tag | default $root.Chart.AppVersion }}
{{- end -}}
{{- end }}

{{/* Whether Sublet's database is PostgreSQL: "true" or nothing. */}}
{{- define "sublet.postgresql" -}}
{{- if .Values.database.existingSecret.name }}true{{ end -}}
{{- end }}

{{/* Whether people sign in at an OAuth provider: "true" or nothing. */}}
{{- define "sublet.oauth" -}}
{{- if ne .Values.signIn.provider "shared-password" }}true{{ end -}}
{{- end }}

{{/* How many of a component that keeps its state in the database. Takes (list $ values-of-component). */}}
{{- define "sublet.replicas" -}}
{{- $root := index . 0 -}}{{- $wanted := (index . 1).replicas -}}
{{- if include "sublet.postgresql" $root -}}
{{- if kindIs "invalid" $wanted }}2{{ else }}{{ int $wanted }}{{ end -}}
{{- else -}}
{{- if and (not (kindIs "invalid" $wanted)) (gt (int $wanted) 1) -}}
{{- fail "api.replicas and meter.replicas above 1 need PostgreSQL (database.existingSecret): SQLite is one file of one node." -}}
{{- end -}}
1
{{- end -}}
{{- end }}

{{/* Priority classes: ours by tier, or none where the cluster's own are named in the values. */}}
{{- define "sublet.priorityClass" -}}
{{- $root := index . 0 -}}{{- $kind := index . 1 -}}
{{- $given := index $root.Values.priorityClasses $kind "name" -}}
{{- if $given -}}{{ $given }}
{{- else if $root.Values.priorityClasses.create -}}{{ include "sublet.clusterName" $root }}-{{ $kind }}
{{- end -}}
{{- end }}
