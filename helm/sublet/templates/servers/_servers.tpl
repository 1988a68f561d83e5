{{/* Pods that serve models. Each entry of `models.servers` is a Deployment and a Service of its own. */}}

{{/* What both are called: DNS labels have no dots, and at most 63 characters. Takes (list $ server). */}}
{{- define "sublet.server.name" -}}
{{- $model := (index . 1).model -}}
{{- $name := printf "%s-model-%s" (include "sublet.fullname" (index . 0)) ($model | replace "." "-") -}}
{{- if gt (len $name) 63 -}}
{{ $name | trunc 56 | trimSuffix "-" }}-{{ $model | sha256sum | trunc 6 }}
{{- else -}}
{{ $name }}
{{- end -}}
{{- end }}

{{/* Labels that select one server's pods. The meter goes by the second: their GPUs are no lease. */}}
{{- define "sublet.server.selector" -}}
{{- $root := index . 0 -}}
{{ include "sublet.selector" (list $root "model-server") }}
sublet.dev/serves: {{ (index . 1).model | trunc 63 | trimAll ".-" }}
{{- end }}

{{/* "vllm" unless it says otherwise. */}}
{{- define "sublet.server.engine" -}}
{{ .engine | default "vllm" }}
{{- end }}

{{- define "sublet.server.image" -}}
{{- $root := index . 0 -}}{{- $server := index . 1 -}}
{{- $image := eq (include "sublet.server.engine" $server) "vllm" | ternary $root.Values.models.vllmImage $root.Values.notebook.image -}}
{{- $image = $server.image | default $image -}}
image: {{ include "sublet.image" (list $root $image) | quote }}
imagePullPolicy: {{ $image.pullPolicy | default $root.Values.image.pullPolicy }}
{{- end }}

{{/* How many GPUs: one for vLLM unless it says otherwise, none for the others. */}}
{{- define "sublet.server.gpus" -}}
{{- if kindIs "invalid" .gpus -}}
{{ eq (include "sublet.server.engine" .) "vllm" | ternary 1 0 }}
{{- else -}}
{{ int .gpus }}
{{- end -}}
{{- end }}

{{/* What it runs. vLLM's options: https://docs.vllm.ai/en/v0.30.0/cli/serve/ */}}
{{- define "sublet.server.command" -}}
{{- $engine := include "sublet.server.engine" . -}}
{{- if eq $engine "vllm" -}}
command: [vllm, serve]
args:
  - /serving/model
  - --served-model-name
  - {{ .model | quote }}
  - --host
  - 0.0.0.0
  - --port
  - "8000"
  {{- if gt (include "sublet.server.gpus" . | int) 1 }}
  - --tensor-parallel-size
  - {{ include "sublet.server.gpus" . | quote }}
  {{- end }}
  - --disable-uvicorn-access-log
  {{- range .arguments }}
  - {{ . | quote }}
  {{- end }}
{{- else -}}
{{- if .arguments -}}
{{- fail (printf "models.servers: %s takes no arguments, its engine is %s." .model $engine) -}}
{{- end -}}
command: [python, -I, {{ eq $engine "fasttext" | ternary "/serving/classify.py" "/serving/chat.py" }}]
args: ["0.0.0.0:8000", {{ .model | quote }}, /serving/model]
{{- end -}}
{{- end }}

{{- define "sublet.server.resources" -}}
{{- $heavy := dict "requests" (dict "cpu" "2" "memory" "8Gi") "limits" (dict "memory" "64Gi") -}}
{{- $light := dict "requests" (dict "cpu" "100m" "memory" "256Mi") "limits" (dict "memory" "4Gi") -}}
{{- $resources := .resources | default (eq (include "sublet.server.engine" .) "vllm" | ternary $heavy $light) -}}
{{- $limits := $resources.limits | default dict -}}
{{- $gpus := include "sublet.server.gpus" . | int -}}
{{- if $gpus -}}
{{- $limits = merge (dict (.resource | default "nvidia.com/gpu") $gpus) $limits -}}
{{- end -}}
{{- with $resources.requests -}}
requests:
  {{- toYaml . | nindent 2 }}
{{- end }}
limits:
  {{- toYaml $limits | nindent 2 }}
{{- end }}

{{/* Models and where they are served, as `kube_model_servers` has them. */}}
{{- define "sublet.servers.addresses" -}}
{{- $root := . -}}
{{- range .Values.models.servers }}
- {{ printf "%s=http://%s:8000/v1" .model (include "sublet.server.name" (list $root .)) | quote }}
{{- end }}
{{- end }}
