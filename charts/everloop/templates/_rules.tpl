{{- /*
What the operator may do in the namespaces it reconciles. docs/platform-engineer.md says why each rule
exists; a rule that no code uses is a bug.
*/ -}}
{{- define "everloop.rules" -}}
# users' objects: read; status: write; runs and versions: made by Experiments, Monitors and runs
- apiGroups: [everloop.dev]
  resources: [experiments, trainingruns, modelversions, deployments, monitors]
  verbs: [get, list, watch]
- apiGroups: [everloop.dev]
  resources: [experiments/status, trainingruns/status, modelversions/status, deployments/status, monitors/status]
  verbs: [patch]
- apiGroups: [everloop.dev]
  resources: [trainingruns, modelversions]
  verbs: [create]
- apiGroups: [everloop.dev]
  resources: [modelversions] # the finalizer while it is served
  verbs: [patch]
- apiGroups: [everloop.dev]
  resources: [trainingruns] # trials follow their Experiment's suspend
  verbs: [patch]
# what a block-owner-deletion owner reference needs where OwnerReferencesPermissionEnforcement is on
- apiGroups: [everloop.dev]
  resources: [experiments/finalizers, trainingruns/finalizers, deployments/finalizers, monitors/finalizers]
  verbs: [update]
# one Job per attempt; suspended and resumed
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, list, watch, create, patch]
# pods of Jobs, servers and routers: why they wait or failed; routers are annotated to sync at once
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, patch]
# run configuration, run reports, router configuration, rules where there is no Prometheus Operator
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, list, watch, create, patch, delete]
# model servers and routers
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
# drains take one replica of a version at a time
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
# who may call servers, routers and pods of runs; where they are switched off, old ones are removed
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, {{ if .Values.networkPolicies.enabled }}create, patch, {{ end }}delete]
# history: promotions, rejections, decisions to retrain; replaced only where a hand took its label
- apiGroups: [apps]
  resources: [controllerrevisions]
  verbs: [get, list, watch, create, update]
{{- if .Values.prometheus.operator }}
# drift rules and scraping
- apiGroups: [monitoring.coreos.com]
  resources: [prometheusrules]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [monitoring.coreos.com]
  resources: [podmonitors]
  verbs: [get, list, watch, create, patch]
{{- end }}
# events: ours are written; those of Jobs and pods are read to say why one does not start
- apiGroups: [""]
  resources: [events]
  verbs: [create, patch, list]
{{- end -}}

{{- define "everloop.edit" -}}
- apiGroups: [everloop.dev]
  resources: [experiments, trainingruns, modelversions, deployments, monitors]
  verbs: [create, delete, deletecollection, patch, update]
{{- end -}}

{{- define "everloop.view" -}}
- apiGroups: [everloop.dev]
  resources: [experiments, trainingruns, modelversions, deployments, monitors]
  verbs: [get, list, watch]
{{- end -}}
