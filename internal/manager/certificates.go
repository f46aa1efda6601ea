// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"crypto/tls"
	"crypto/x509"

	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/goshawk-dev/goshawk/internal/collectors"
)

// The values of the label server.
const (
	serverDDI     = "ddi"
	serverMQTT    = "mqtt"
	serverConsole = "console"
)

// serverNames are the servers in messages.
var serverNames = map[string]string{serverDDI: "device API", serverMQTT: "MQTT broker", serverConsole: "console"}

var certificateExpiry = collectors.Define(collectors.Definition{
	Name: "goshawk_certificate_expiry_timestamp_seconds", Process: collectors.Every,
	Help:   "The end of the validity of a server certificate, in seconds since 1970: of --ddi-tls-cert-file (ddi), --mqtt-tls-cert-file (mqtt) or --console-tls-cert-file (console). Absent without that file.",
	Labels: []collectors.Label{{Name: "server", Values: []string{serverDDI, serverMQTT, serverConsole}}},
}).Gauges()

func init() { metrics.Registry.MustRegister(certificateExpiry) }

// certificateRead records the end of a certificate that a server uses from now on. It was parsed
// before, so it has no error.
func certificateRead(server string, read tls.Certificate) {
	if len(read.Certificate) == 0 {
		return
	}
	if leaf, err := x509.ParseCertificate(read.Certificate[0]); err == nil {
		certificateExpiry.WithLabelValues(server).Set(float64(leaf.NotAfter.Unix()))
	}
}
