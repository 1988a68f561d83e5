{{/* Peers and ports of network policies. Ports are those of pods: policies see traffic past the Services. */}}

{{/* A pod of ours, in this namespace, or of the hub that there was before. Takes (list $ component). */}}
{{- define "sublet.network.pods" -}}
{{- $existing := (index . 0).Values.existingHub -}}
- podSelector:
    matchLabels:
      {{- if and $existing.enabled (has (index . 1) (list "hub" "proxy")) }}
      {{- index $existing (printf "%sLabels" (index . 1)) | toYaml | nindent 6 }}
      {{- else }}
      {{- include "sublet.selector" . | nindent 6 }}
      {{- end }}
{{- end }}

{{/* Users' pods. What else is a lease says which model it serves. */}}
{{- define "sublet.network.notebooks" -}}
- podSelector:
    matchExpressions:
      {{- include "sublet.notebooks.selector" . | nindent 6 }}
{{- end }}

{{- define "sublet.notebooks.selector" -}}
- {key: sublet.dev/lease, operator: Exists}
- {key: sublet.dev/serves, operator: DoesNotExist}
{{- end }}

{{/* Pods of models' servers that are leases, which the gateway makes. */}}
{{- define "sublet.network.leasedServers" -}}
- podSelector:
    matchExpressions:
      {{- include "sublet.leasedServers.selector" . | nindent 6 }}
{{- end }}

{{- define "sublet.leasedServers.selector" -}}
- {key: sublet.dev/lease, operator: Exists}
- {key: sublet.dev/serves, operator: Exists}
{{- end }}

{{- define "sublet.network.dns" -}}
- to:
    {{- with .Values.networkPolicy.dns.to }}
    {{- toYaml . | nindent 4 }}
    {{- else }}
    - podSelector:
        matchLabels: {k8s-app: kube-dns}
      namespaceSelector:
        {{- if include "sublet.namedNamespaces" . }}
        matchLabels: {kubernetes.io/metadata.name: kube-system}
        {{- else }} {}
        {{- end }}
    # The DNS cache of a node, where there is one.
    - ipBlock: {cidr: 169.254.20.10/32}
    {{- end }}
  ports:
    {{- range .Values.networkPolicy.dns.ports }}
    - {port: {{ int . }}, protocol: UDP}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
{{- end }}

{{/* The API server can't be selected: it has addresses. Where none are named, any address at its usual ports. */}}
{{- define "sublet.network.apiServer" -}}
- ports:
    {{- range .Values.networkPolicy.apiServer.ports }}
    - {port: {{ int . }}, protocol: TCP}
    {{- end }}
  {{- with .Values.networkPolicy.apiServer.addresses }}
  to:
    {{- range . }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  {{- end }}
{{- end }}

{{/* A database server. Takes the values of one (`database` or `hubDatabase`). */}}
{{- define "sublet.network.database" -}}
- ports:
    - {port: {{ int .port }}, protocol: TCP}
  {{- with .networkPolicyTo }}
  to:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{/* Addresses of the API server that only the cluster knows, as ["10.0.0.1/32"]; none without a cluster. */}}
{{- define "sublet.network.apiServer.found" -}}
{{- $found := .Values.networkPolicy.apiServer.addresses | default list -}}
{{- range (lookup "v1" "Endpoints" "default" "kubernetes").subsets -}}
{{- range .addresses -}}
{{- $found = append $found (printf "%s/%s" .ip (ternary "128" "32" (contains ":" .ip))) -}}
{{- end -}}
{{- end -}}
{{ $found | uniq | toJson }}
{{- end }}

{{/* The internet: everything but what is private, the API server where it has a public address, and ranges that
     an operator bars. 169.254.0.0/16 has the clouds' metadata. IPv6's ways to write IPv4 addresses are barred
     too: a gateway would translate them back. */}}
{{- define "sublet.network.internet" -}}
{{- $private := list "0.0.0.0/8" "10.0.0.0/8" "100.64.0.0/10" "127.0.0.0/8" "169.254.0.0/16" "172.16.0.0/12" "192.0.0.0/24" "192.168.0.0/16" "198.18.0.0/15" "224.0.0.0/4" "240.0.0.0/4" -}}
{{- $private6 := list "::/96" "64:ff9b::/96" "64:ff9b:1::/48" "2002::/16" "fc00::/7" "fe80::/10" "ff00::/8" -}}
{{- range concat (include "sublet.network.apiServer.found" . | fromJsonArray) .Values.networkPolicy.barredRanges -}}
{{- if contains ":" . }}{{ $private6 = append $private6 . }}{{ else }}{{ $private = append $private . }}{{ end -}}
{{- end -}}
- to:
    - ipBlock:
        cidr: 0.0.0.0/0
        except:
          {{- toYaml (uniq $private) | nindent 10 }}
    - ipBlock:
        cidr: ::/0
        except:
          {{- toYaml (uniq $private6) | nindent 10 }}
{{- end }}
