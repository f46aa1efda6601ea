#!/usr/bin/env bash
# Checks the alerts and the dashboard: each query selects existing metrics and labels, and the unit
# tests of the alerts pass. The program promtool of Prometheus is built without its service
# discovery, which is most of it.
set -o errexit -o nounset -o pipefail
cd "$(dirname "$0")/.."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

go test -C hack/promtool ./...
go run ./hack/metricsdoc -json >"$folder/metrics.json"
dashboards=("$PWD"/config/grafana/*.json)
go run -C hack/promtool . "$PWD/config/prometheus/rules.yaml" "$folder/rules.yaml" "${dashboards[@]}" <"$folder/metrics.json"
cp config/prometheus/rules_test.yaml "$folder/"
go build -C hack/promtool -tags remove_all_sd -o "$PWD/bin/promtool" github.com/prometheus/prometheus/cmd/promtool # go tool has no -tags
bin/promtool check rules "$folder/rules.yaml"
bin/promtool test rules "$folder/rules_test.yaml"
