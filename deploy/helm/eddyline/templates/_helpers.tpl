{{- define "eddyline.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 53 | trimSuffix "-" }}
{{- end }}

{{- define "eddyline.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 53 | trimSuffix "-" }}
{{- else if contains (include "eddyline.name" .) .Release.Name }}
{{- .Release.Name | trunc 53 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "eddyline.name" .) | trunc 53 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "eddyline.selectorLabels" -}}
app.kubernetes.io/name: {{ include "eddyline.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "eddyline.labels" -}}
{{ include "eddyline.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "eddyline.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}{{ default (include "eddyline.fullname" .) .Values.serviceAccount.name }}
{{- else }}{{ default "default" .Values.serviceAccount.name }}{{ end }}
{{- end }}

{{- define "eddyline.image" -}}
{{- if .Values.image.digest }}{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else }}{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}{{ end }}
{{- end }}

{{/* The most pods that there can be at a time. */}}
{{- define "eddyline.mostPods" -}}
{{- if .Values.autoscaling.enabled }}{{ .Values.autoscaling.maxReplicas }}{{ else }}{{ .Values.replicaCount }}{{ end }}
{{- end }}

{{/* "true" if there is no ClickHouse, so that the database is in the pod. */}}
{{- define "eddyline.embedded" -}}
{{- if not .Values.clickhouse.url }}true{{ end }}
{{- end }}

{{/* "true" if the data directory outlives the pod. */}}
{{- define "eddyline.lasting" -}}
{{- if and .Values.persistence.enabled (has .Values.mode (list "standalone" "statefulset")) }}true{{ end }}
{{- end }}

{{/* What the chart makes of the configuration, without `config`. */}}
{{- define "eddyline.defaults" -}}
{{- $name := include "eddyline.fullname" . -}}
{{- $service := printf "%s.%s" $name .Release.Namespace -}}
{{- $address := .Values.listenAddress -}}
{{- $ack := default (ternary "fsync" "sink" (eq (include "eddyline.lasting" .) "true")) .Values.journal.ack -}}
receivers:
  otlp:
    protocols:
      grpc:
        endpoint: {{ printf "%s:4317" $address | quote }}
        {{- if eq $ack "sink" }}
        workers: 64  # each waits for a batch
        {{- end }}
        keepalive:
          max_connection_age: 300s
      http:
        endpoint: {{ printf "%s:4318" $address | quote }}
api:
  endpoint: {{ printf "%s:4320" $address | quote }}
  hosts: {{ concat (list $name $service (printf "%s.svc" $service) (printf "%s.svc.cluster.local" $service)) .Values.apiHosts | toJson }}
admin:
  endpoint: {{ printf "%s:13133" $address | quote }}
proxy:
  endpoint: "off"
auth:
  insecure: {{ .Values.auth.insecure }}
journal:
  ack: {{ $ack }}
  max_bytes: {{ int64 .Values.journal.maxBytes }}
{{- if not (include "eddyline.embedded" .) }}
loops:
  replicas: {{ max 2 (int (include "eddyline.mostPods" .)) }}
{{- end }}
service:
  shutdown:
    drain_delay: 5s
    timeout: 25s
{{- end }}

{{- define "eddyline.config" -}}
{{- toYaml (mergeOverwrite (fromYaml (include "eddyline.defaults" .)) (deepCopy .Values.config)) }}
{{- end }}

{{/* The pod of every workload. */}}
{{- define "eddyline.pod" -}}
metadata:
  annotations:
    checksum/config: {{ include "eddyline.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  labels:
    {{- include "eddyline.labels" . | nindent 4 }}
    app.kubernetes.io/component: collector
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "eddyline.serviceAccountName" . }}
  automountServiceAccountToken: false
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  {{- with .Values.image.pullSecrets }}
  imagePullSecrets:
    {{- range . }}
    - name: {{ . }}
    {{- end }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  containers:
    - name: eddyline
      image: {{ include "eddyline.image" . | quote }}
      imagePullPolicy: {{ .Values.image.pullPolicy }}
      args:
        - serve
        - --config=file:/etc/eddyline/config.yaml
        {{- if .Values.secretConfig.existingSecret }}
        - --config=file:/etc/eddyline-secret/config.yaml
        {{- end }}
      env:
        - name: EDDYLINE_DATA_DIR
          value: /var/lib/eddyline
        {{- with .Values.auth.existingSecret }}
        - name: EDDYLINE_TOKEN
          valueFrom:
            secretKeyRef: {name: {{ . | quote }}, key: {{ $.Values.auth.tokenKey | quote }}}
        - name: EDDYLINE_AUTH__KEYS__INGEST__KEY
          valueFrom:
            secretKeyRef: {name: {{ . | quote }}, key: {{ $.Values.auth.ingestKey | quote }}}
        {{- end }}
        {{- with .Values.clickhouse.url }}
        - name: EDDYLINE_SINKS__CLICKHOUSE__URL
          value: {{ . | quote }}
        {{- end }}
        {{- with .Values.clickhouse.username }}
        - name: EDDYLINE_SINKS__CLICKHOUSE__USERNAME
          value: {{ . | quote }}
        {{- end }}
        {{- with .Values.clickhouse.existingSecret }}
        - name: EDDYLINE_SINKS__CLICKHOUSE__PASSWORD
          valueFrom:
            secretKeyRef: {name: {{ . | quote }}, key: {{ $.Values.clickhouse.passwordKey | quote }}}
        {{- end }}
        {{- with .Values.extraEnv }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
      ports:
        - name: otlp-grpc
          containerPort: 4317
          {{- if and (eq .Values.mode "daemonset") .Values.hostPorts.enabled }}
          hostPort: {{ .Values.hostPorts.grpc }}
          {{- end }}
        - name: otlp-http
          containerPort: 4318
          {{- if and (eq .Values.mode "daemonset") .Values.hostPorts.enabled }}
          hostPort: {{ .Values.hostPorts.http }}
          {{- end }}
        - name: api
          containerPort: 4320
        - name: admin
          containerPort: 13133
      startupProbe:
        httpGet: {path: /healthz, port: admin}
        {{- toYaml .Values.startupProbe | nindent 8 }}
      livenessProbe:
        httpGet: {path: /healthz, port: admin}
        {{- toYaml .Values.livenessProbe | nindent 8 }}
      readinessProbe:
        httpGet: {path: /readyz, port: admin}
        {{- toYaml .Values.readinessProbe | nindent 8 }}
      resources:
        {{- toYaml .Values.resources | nindent 8 }}
      securityContext:
        {{- toYaml .Values.securityContext | nindent 8 }}
      volumeMounts:
        - {name: config, mountPath: /etc/eddyline, readOnly: true}
        {{- if .Values.secretConfig.existingSecret }}
        - {name: secret-config, mountPath: /etc/eddyline-secret, readOnly: true}
        {{- end }}
        - {name: data, mountPath: /var/lib/eddyline}
        - {name: tmp, mountPath: /tmp}
        {{- with .Values.extraVolumeMounts }}
        {{- toYaml . | nindent 8 }}
        {{- end }}
  volumes:
    - name: config
      configMap:
        name: {{ include "eddyline.fullname" . }}
    {{- with .Values.secretConfig.existingSecret }}
    - name: secret-config
      secret:
        secretName: {{ . }}
        items: [{key: {{ $.Values.secretConfig.key | quote }}, path: config.yaml}]
    {{- end }}
    - name: tmp
      emptyDir: {sizeLimit: 1Gi}
    {{- if not (include "eddyline.lasting" .) }}
    - name: data
      emptyDir: {sizeLimit: {{ .Values.emptyDirSize }}}
    {{- else if eq .Values.mode "standalone" }}
    - name: data
      persistentVolumeClaim:
        claimName: {{ default (include "eddyline.fullname" .) .Values.persistence.existingClaim }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if ne .Values.mode "daemonset" }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- range . }}
    - {{- toYaml . | nindent 6 }}
      labelSelector:
        matchLabels:
          {{- include "eddyline.selectorLabels" $ | nindent 10 }}
    {{- end }}
  {{- end }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "eddyline.claim" -}}
accessModes: {{ toJson .Values.persistence.accessModes }}
{{- with .Values.persistence.storageClass }}
storageClassName: {{ . | quote }}
{{- end }}
resources:
  requests:
    storage: {{ .Values.persistence.size }}
{{- end }}
