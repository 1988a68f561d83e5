{{/* What all pods of ours share. Takes (list $ component), component being hub, proxy, api, meter, gateway, models or check. */}}

{{- define "sublet.pod.metadata" -}}
{{- $root := index . 0 -}}{{- $values := index $root.Values (index . 1) -}}
labels:
  {{- include "sublet.selector" . | nindent 2 }}
  {{- with $root.Values.extraLabels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
  {{- with $values.labels }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "sublet.pod.spec" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}{{- $values := index $root.Values $component -}}
serviceAccountName: {{ include "sublet.fullname" $root }}-{{ $component }}
automountServiceAccountToken: {{ or (has $component (list "hub" "meter")) (and (eq $component "gateway") (eq (include "sublet.modelLeases" $root) "true")) }}
enableServiceLinks: false
{{- with include "sublet.priorityClass" (list $root "platform") }}
priorityClassName: {{ . }}
{{- end }}
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- include "sublet.pod.securityContext" $root | nindent 2 }}
{{- with $values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* The user of the image. Volumes and secrets are readable by its group. */}}
{{- define "sublet.pod.securityContext" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
fsGroupChangePolicy: OnRootMismatch
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* Pod Security "restricted", and a root file system that nobody can write. */}}
{{- define "sublet.container.securityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Image and surroundings of a container. */}}
{{- define "sublet.container" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}{{- $values := index $root.Values $component -}}
image: {{ include "sublet.image" (list $root $root.Values.image) | quote }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
securityContext:
  {{- include "sublet.container.securityContext" $root | nindent 2 }}
env:
  {{- include "sublet.env" . | nindent 2 }}
  {{- with $values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $values.resources }}
resources:
  {{- toYaml . | nindent 2 }}
{{- end }}
volumeMounts:
  - name: etc
    mountPath: /etc/sublet
    readOnly: true
  - name: tmp
    mountPath: /tmp
  {{- if has $component (list "hub" "api" "meter" "gateway" "models") }}
  - name: data
    mountPath: /var/lib/sublet
  {{- end }}
  {{- if eq $component "models" }}
  - name: models
    mountPath: /models
  {{- end }}
  {{- with $values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{/* Settings that follow from the chart; they stand above those of the file. The proxy reads no file, so that
     no change of the settings restarts it. */}}
{{- define "sublet.env" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}{{- $full := include "sublet.fullname" $root -}}
- name: SUBLET_CLUSTER
  value: kubernetes
- name: SUBLET_DATA
  value: /var/lib/sublet
{{- if has $component (list "hub" "api" "meter" "gateway" "models" "model-server") }}
- name: SUBLET_CONFIG_FILE
  value: /etc/sublet/sublet.toml
{{- end }}
{{- if has $component (list "models" "model-server") }}
- name: SUBLET_MODELS_DIR
  value: /models
{{- end }}
{{- if and (eq $component "models") $root.Values.models.hubToken.name }}
- name: HF_TOKEN
  valueFrom:
    secretKeyRef:
      {{- toYaml $root.Values.models.hubToken | nindent 6 }}
{{- end }}
- name: SUBLET_SECRETS_DIR
  value: /etc/sublet/secrets
- name: SUBLET_HOST
  value: 0.0.0.0
- name: SUBLET_INTERNAL_HOST
  value: 0.0.0.0
- name: SUBLET_HUB_ADDRESS
  value: {{ include "sublet.hubAddress" $root }}
- name: SUBLET_API_ADDRESS
  value: http://{{ $full }}-api:8082
- name: SUBLET_GATEWAY_ADDRESS
  value: http://{{ $full }}-gateway:8084
- name: SUBLET_PROXY_API_ADDRESS
  value: http://{{ $full }}-proxy-api:8001
- name: SUBLET_KUBE_NAMESPACE
  value: {{ $root.Release.Namespace }}
- name: SUBLET_KUBE_RELEASE
  value: {{ $full }}
{{- if and (has $component (list "api" "meter")) (include "sublet.postgresql" $root) }}
- name: SUBLET_DATABASE_URL
  valueFrom:
    secretKeyRef:
      {{- toYaml $root.Values.database.existingSecret | nindent 6 }}
{{- end }}
{{- if and (eq $component "hub") $root.Values.hubDatabase.existingSecret.name }}
- name: SUBLET_HUB_DATABASE_URL
  valueFrom:
    secretKeyRef:
      {{- toYaml $root.Values.hubDatabase.existingSecret | nindent 6 }}
{{- end }}
{{- if and (eq $component "gateway") (include "sublet.modelLeases" $root) }}
# It owns the pods of the servers that it starts.
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_UID
  valueFrom: {fieldRef: {fieldPath: metadata.uid}}
{{- end }}
- name: HOME
  value: /tmp
{{- end }}

{{/* The container that brings the database into its present form, and waits for it. */}}
{{- define "sublet.migrate" -}}
- name: migrate
  args: [sublet, migrate, --wait, "120"]
  {{- include "sublet.container" . | nindent 2 }}
{{- end }}

{{/* One folder /etc/sublet: the settings, and of the secrets those that this component needs.
     Takes (list $ component names-of-secrets). */}}
{{- define "sublet.volumes" -}}
{{- $root := index . 0 -}}{{- $component := index . 1 -}}
- name: etc
  projected:
    defaultMode: 0440
    sources:
      {{- if and (has $component (list "hub" "api" "gateway" "models" "model-server")) (include "sublet.models" $root) }}
      - configMap:
          name: {{ include "sublet.fullname" $root }}-models
      {{- end }}
      {{- if has $component (list "hub" "api" "meter" "gateway" "models" "model-server") }}
      - configMap:
          name: {{ include "sublet.fullname" $root }}-settings
          items:
            - {key: sublet.toml, path: sublet.toml}
            {{- if and (eq $component "hub") $root.Values.hub.extraConfig }}
            - {key: extra_config.py, path: extra_config.py}
            {{- end }}
      {{- end }}
      {{- if index . 2 }}
      - secret:
          name: {{ include "sublet.secretName" $root }}
          items:
            {{- range index . 2 }}
            - {key: {{ . }}, path: secrets/{{ . }}}
            {{- end }}
      {{- end }}
      {{- if and (eq $component "hub") (include "sublet.oauth" $root) }}
      - secret:
          name: {{ $root.Values.signIn.clientSecret.name | quote }}
          items:
            - {key: {{ $root.Values.signIn.clientSecret.key }}, path: secrets/oauth_client_secret}
      {{- end }}
- name: tmp
  emptyDir:
    sizeLimit: 1Gi
{{- end }}

{{/* Where Sublet's SQLite is kept, or room for what a start needs where PostgreSQL holds everything. */}}
{{- define "sublet.data" -}}
- name: data
  {{- if include "sublet.postgresql" . }}
  emptyDir:
    sizeLimit: 1Gi
  {{- else }}
  persistentVolumeClaim:
    claimName: {{ .Values.database.storage.existingClaim | default (printf "%s-data" (include "sublet.fullname" .)) }}
  {{- end }}
{{- end }}

{{/* A change of the settings restarts those who read them; so does a change of the secrets. */}}
{{- define "sublet.checksums" -}}
{{- $root := index . 0 -}}
{{- if index . 1 }}
checksum/settings: {{ cat (include "sublet.settings" $root) (include "sublet.models.files" $root) | sha256sum }}
{{- end }}
checksum/secrets: {{ include "sublet.secrets" $root | sha256sum }}
{{- end }}

{{/* A claim of ours; it stays when the release is taken away. Takes (list $ storage-values). */}}
{{- define "sublet.claim" -}}
{{- $storage := index . 1 -}}
accessModes: [{{ $storage.accessMode }}]
{{- with $storage.storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ $storage.size }}
{{- end }}

{{- define "sublet.keep" -}}
{{- if .Values.keepOnUninstall }}
helm.sh/resource-policy: keep
{{- end }}
{{- end }}

{{/* Of those who open the database: one after the other where it is one file, overlapping where it is a server. */}}
{{- define "sublet.strategy" -}}
{{- if include "sublet.postgresql" . -}}
type: RollingUpdate
rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
{{- else -}}
type: Recreate
{{- end -}}
{{- end }}
