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
	serverDDI  = "ddi"
	serverMQTT = "mqtt"
)

var certificateExpiry = collectors.Define(collectors.Definition{
	Name: "goshawk_certificate_expiry_timestamp_seconds", Process: collectors.DeviceAPI,
	Help:   "The end of the validity of a server certificate for devices, in seconds since 1970: of --ddi-tls-cert-file (ddi) or --mqtt-tls-cert-file (mqtt). Absent without that file.",
	Labels: []collectors.Label{{Name: "server", Values: []string{serverDDI, serverMQTT}}},
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
