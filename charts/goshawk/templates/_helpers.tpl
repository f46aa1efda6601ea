{{- /* Prefix of the names of the objects. */ -}}
{{- define "goshawk.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride -}}
{{- else if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" (.Release.Name | trunc 32 | trimSuffix "-") .Chart.Name -}}
{{- end -}}
{{- end }}

{{- /* Labels of all objects. */ -}}
{{- define "goshawk.labels" -}}
app.kubernetes.io/name: goshawk
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Labels that select the pods of a component. They are those of config/default, so a release may take its objects over. */ -}}
{{- define "goshawk.selector" -}}
app.kubernetes.io/name: goshawk
app.kubernetes.io/component: {{ . }}
{{- end }}

{{- define "goshawk.image" -}}
{{- $tag := .Values.image.tag | default .Chart.AppVersion -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ $tag }}
{{- end -}}
{{- end }}

{{- define "goshawk.controllers.account" -}}
{{- .Values.controllers.serviceAccount.name | default (ternary (printf "%s-manager" (include "goshawk.fullname" .)) "default" .Values.controllers.serviceAccount.create) -}}
{{- end }}

{{- define "goshawk.deviceAPI.account" -}}
{{- .Values.deviceAPI.serviceAccount.name | default (ternary (printf "%s-device-api" (include "goshawk.fullname" .)) "default" .Values.deviceAPI.serviceAccount.create) -}}
{{- end }}

{{- /* Whether the device API runs its own MQTT broker. */ -}}
{{- define "goshawk.mqtt.embedded" -}}
{{- if and .Values.mqtt.enabled (not .Values.mqtt.externalBroker.url) }}true{{ end -}}
{{- end }}

{{- /* Fields of a pod that both Deployments have. The argument is a list: the root, the values and the name of the component. */ -}}
{{- define "goshawk.pod" -}}
{{- $root := index . 0 -}}{{- $values := index . 1 -}}{{- $component := index . 2 -}}
automountServiceAccountToken: true
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with $root.Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector:
{{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations:
{{- toYaml . | nindent 0 }}
{{- end }}
{{- with $values.affinity }}
affinity:
{{- toYaml . | nindent 2 }}
{{- end }}
topologySpreadConstraints:
{{- if $values.topologySpreadConstraints }}
{{- toYaml $values.topologySpreadConstraints | nindent 0 }}
{{- else }}
{{- range list "kubernetes.io/hostname" "topology.kubernetes.io/zone" }}
- topologyKey: {{ . }}
  maxSkew: 1
  whenUnsatisfiable: ScheduleAnyway
  labelSelector:
    matchLabels:
      {{- include "goshawk.selector" $component | nindent 6 }}
  matchLabelKeys: [pod-template-hash]
{{- end }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- end }}

{{- /* Fields of a container that both Deployments have. The argument is as for goshawk.pod. */ -}}
{{- define "goshawk.container" -}}
{{- $root := index . 0 -}}{{- $values := index . 1 -}}
name: goshawk
image: {{ include "goshawk.image" $root }}
imagePullPolicy: {{ $root.Values.image.pullPolicy }}
env:
- name: POD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: GOMEMLIMIT
  valueFrom:
    resourceFieldRef:
      containerName: goshawk
      resource: limits.memory
{{- with $values.extraEnv }}
{{- toYaml . | nindent 0 }}
{{- end }}
startupProbe:
  httpGet:
    path: /healthz
    port: health
  periodSeconds: 2
  failureThreshold: 60
livenessProbe:
  httpGet:
    path: /healthz
    port: health
  periodSeconds: 20
  timeoutSeconds: 5
readinessProbe:
  httpGet:
    path: /readyz
    port: health
  periodSeconds: 5
  timeoutSeconds: 5
resources:
  {{- toYaml $values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities:
    drop: [ALL]
{{- end }}

{{- /* Arguments that both Deployments have. */ -}}
{{- define "goshawk.args" -}}
- --namespace=$(POD_NAMESPACE)
- --metrics-bind-address=:8081
- --health-probe-bind-address=:8082
{{- with .Values.watchNamespaces }}
- --watch-namespaces={{ join "," . }}
{{- end }}
{{- if ne (toString .Values.logLevel) "info" }}
- --zap-log-level={{ .Values.logLevel }}
{{- end }}
{{- end }}
