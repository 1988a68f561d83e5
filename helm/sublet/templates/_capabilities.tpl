{{/* What differs between versions of Kubernetes is asked for here, and nowhere else. */}}

{{/* Asked of the version too: without a cluster, Helm believes that a cluster has all that it knows itself. */}}
{{- define "sublet.policyVersion" -}}
{{- if and (.Capabilities.APIVersions.Has "policy/v1") (semverCompare ">=1.21.0-0" .Capabilities.KubeVersion.Version) -}}
policy/v1
{{- else -}}
policy/v1beta1
{{- end -}}
{{- end }}

{{/* Namespaces carry their name as a label from 1.21 on; before, their kube-system can't be told by labels. */}}
{{- define "sublet.namedNamespaces" -}}
{{- if semverCompare ">=1.21.0-0" .Capabilities.KubeVersion.Version }}true{{ end -}}
{{- end }}

{{/* Whether the cluster is one that the product is made for: native sidecars, Pod Security, policy/v1. */}}
{{- define "sublet.supported" -}}
{{- if semverCompare ">=1.30.0-0" .Capabilities.KubeVersion.Version }}true{{ end -}}
{{- end }}
