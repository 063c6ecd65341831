{{- define "everloop.name" -}}
{{- if contains "everloop" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-everloop" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end -}}
{{- end -}}

{{- define "everloop.selector" -}}
app.kubernetes.io/name: everloop
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end -}}

{{- define "everloop.labels" -}}
{{ include "everloop.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- /* An image, behind the mirror's registry if there is one. */ -}}
{{- define "everloop.image" -}}
{{- if .root.Values.image.registry }}{{ trimSuffix "/" .root.Values.image.registry }}/{{ end }}{{ .image -}}
{{- end -}}

{{- /* Seconds of a duration such as 500ms, 15s or 1m30s. */ -}}
{{- define "everloop.seconds" -}}
{{- $total := 0.0 -}}
{{- range regexFindAll "[0-9]+(ms|s|m|h)" . -1 -}}
{{- $number := regexFind "^[0-9]+" . | float64 -}}
{{- $unit := regexFind "[a-z]+$" . -}}
{{- $factor := get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0) $unit -}}
{{- $total = addf $total (mulf $number $factor) -}}
{{- end -}}
{{- $total -}}
{{- end -}}
