// Prometheus and promtool.
module everloop/devcluster/prometheus

go 1.26.7

tool (
	github.com/prometheus/prometheus/cmd/prometheus
	github.com/prometheus/prometheus/cmd/promtool
)

require github.com/prometheus/prometheus v0.316.0
