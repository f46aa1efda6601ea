// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"strings"
	"testing"
)

func TestDeviceAccess(t *testing.T) {
	const (
		nothing   = "spec: set gatewayToken, clientCertificate or trustedProxy: without one of them a DeviceAccess accepts nothing"
		unlabeled = "spec.registration.labels: labels must contain everything in targetSelector.matchLabels: a device that is registered without them could not be served"
		reserved  = "spec.registration.labels: labels must have no keys of goshawk.dev, kubernetes.io and k8s.io, which are reserved: choose another prefix"
		badKey    = "spec.registration.labels: labels must have keys such as site or example.com/site"
		noAddress = "spec.trustedProxy.addresses: addresses must be IP addresses or ranges such as 10.1.0.0/16"
		all       = "spec.trustedProxy.addresses: addresses must not contain all addresses: every client could then write the headers of the proxy"
		noPattern = "spec.registration.controllerIDPattern: controllerIDPattern must be a regular expression in RE2 syntax"
	)
	proxy := func(address string) string {
		return `{trustedProxy: {addresses: [` + address + `], authorities: [a]}}`
	}
	registration := func(fields string) string { return `{registration: {` + fields + `}}` }
	certificate := func(fields string) string {
		return `{clientCertificate: {caSecretRef: {name: ca, key: ca.crt}` + fields + `}}`
	}
	testSchema(t, "DeviceAccess", map[string]schemaCase{
		"a gateway token is all that is needed": {},
		"a certificate is all that is needed":   {given: `{gatewayToken: null, clientCertificate: {caSecretRef: {name: ca, key: ca.crt}}}`},
		"a proxy is all that is needed":         {given: `{gatewayToken: null, trustedProxy: {addresses: ["10.0.0.1"], authorities: [a]}}`},
		"a credential is needed":                {given: `{gatewayToken: null, targetSelector: {}}`, refused: nothing},
		"registration is no credential":         {given: `{gatewayToken: null, registration: {}}`, refused: nothing},
		"the last credential is not removed":    {when: `{gatewayToken: null}`, refused: nothing},
		"one credential replaces another":       {when: `{gatewayToken: null, clientCertificate: {caSecretRef: {name: ca, key: ca.crt}}}`},
		"everything may change":                 {given: registration(`maxTargets: 5`), when: `{gatewayToken: {secretName: other}, registration: {maxTargets: 6, type: t}, targetSelector: {matchExpressions: [{key: a, operator: Exists}]}}`},
		"a Secret without a name":               {given: `{gatewayToken: {secretName: ""}}`, refused: "spec.gatewayToken.secretName: spec.gatewayToken.secretName in body should be at least 1 chars long"},
		"an operator that does not exist":       {given: `{targetSelector: {matchExpressions: [{key: a, operator: Like}]}}`, refused: `spec.targetSelector.matchExpressions[0].operator: Unsupported value: "Like": supported values: "In", "NotIn", "Exists", "DoesNotExist"`},

		"serials in all forms":          {given: certificate(`, revokedSerials: ["0a1b", "0A:1B:2c", "7"]`)},
		"a serial that is no number":    {given: certificate(`, revokedSerials: ["xyz"]`), refused: "spec.clientCertificate.revokedSerials[0]: spec.clientCertificate.revokedSerials[0] in body should match '^[0-9A-Fa-f]+(:[0-9A-Fa-f]+)*$'"},
		"5000 serials":                  {given: certificate(`, revokedSerials: ` + list(5000, `"%d"`))},
		"5001 serials":                  {given: certificate(`, revokedSerials: ` + list(5001, `"%d"`)), refused: "spec.clientCertificate.revokedSerials: Too many: 5001: must have at most 5000 items"},
		"an identity that is not known": {given: certificate(`, identity: Serial`), refused: `spec.clientCertificate.identity: Unsupported value: "Serial": supported values: "CommonName", "URI"`},

		"an address":            {given: proxy(`"10.0.0.1"`)},
		"a range":               {given: proxy(`"fd00::/8"`)},
		"a host":                {given: proxy(`proxy.example.com`), refused: noAddress},
		"a broken range":        {given: proxy(`"10.0.0.0/33"`), refused: noAddress},
		"a range with a host":   {given: proxy(`"10.0.0.1/8"`)},
		"an address with port":  {given: proxy(`"10.0.0.1:443"`), refused: noAddress},
		"an address with zone":  {given: proxy(`"fe80::1%eth0"`), refused: noAddress},
		"one of two is a host":  {given: proxy(`"10.0.0.1", proxy`), refused: noAddress},
		"one of two is all":     {given: proxy(`"10.0.0.1", "0.0.0.0/0"`), refused: all},
		"a host on a change":    {given: proxy(`"10.0.0.1"`), when: proxy(`proxy`), refused: noAddress},
		"no authority":          {given: `{trustedProxy: {addresses: ["10.0.0.1"], authorities: []}}`, refused: "spec.trustedProxy.authorities: Invalid value: 0: spec.trustedProxy.authorities in body should have at least 1 items"},
		"all addresses":         {given: proxy(`"0.0.0.0/0"`), refused: all},
		"all addresses of IPv6": {given: proxy(`"::/0"`), refused: all},
		"no address":            {given: proxy(``), refused: "spec.trustedProxy.addresses: Invalid value: 0: spec.trustedProxy.addresses in body should have at least 1 items"},
		"a header with a blank": {given: `{trustedProxy: {addresses: ["10.0.0.1"], authorities: [a], controllerIDHeader: "X Id"}}`, refused: "spec.trustedProxy.controllerIDHeader: spec.trustedProxy.controllerIDHeader in body should match '^[A-Za-z0-9-]+$'"},

		"a pattern":                       {given: registration(`controllerIDPattern: "^dev-[0-9a-f]{12}$"`)},
		"a pattern that is none":          {given: registration(`controllerIDPattern: "dev-("`), refused: noPattern},
		"a pattern with a lookahead":      {given: registration(`controllerIDPattern: "(?=dev)"`), refused: noPattern},
		"a pattern that repeats too much": {given: registration(`controllerIDPattern: "a{2000}"`), refused: noPattern},
		"a pattern of 257 characters":     {given: registration(`controllerIDPattern: ` + strings.Repeat("a", 257)), refused: "spec.registration.controllerIDPattern: Too long: may not be more than 256 bytes"},
		"labels":                          {given: registration(`labels: {site: factory, example.com/ring: new, empty: ""}`)},
		"a label of Goshawk":              {given: registration(`labels: {goshawk.dev/rollout: r}`), refused: reserved},
		"a label of a part of Goshawk":    {given: registration(`labels: {x.goshawk.dev/a: r}`), refused: reserved},
		"a label of kubernetes.io":        {given: registration(`labels: {kubernetes.io/arch: arm64}`), refused: reserved},
		"a label of k8s.io":               {given: registration(`labels: {node.k8s.io/a: b}`), refused: reserved},
		"a label of Kubernetes":           {given: registration(`labels: {app.kubernetes.io/managed-by: goshawk}`), refused: reserved},
		"a label that ends alike":         {given: registration(`labels: {notgoshawk.dev/a: r}`)},
		"a key that is none":              {given: registration(`labels: {"a b": r}`), refused: badKey},
		"a key with an empty prefix":      {given: registration(`labels: {/a: r}`), refused: badKey},
		"a key that is too long":          {given: registration(`labels: {` + strings.Repeat("a", 64) + `: r}`), refused: badKey},
		"a key with two slashes":          {given: registration(`labels: {a.b/c/d: r}`), refused: badKey},
		"a value with a blank":            {given: registration(`labels: {site: "a b"}`), refused: "spec.registration.labels.site: spec.registration.labels.site in body should match '^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$'"},
		"a value of 64 characters":        {given: registration(`labels: {site: ` + strings.Repeat("a", 64) + `}`), refused: "spec.registration.labels.site: Too long: may not be more than 63 bytes"},
		"21 labels":                       {given: registration(`labels: {` + strings.Trim(list(21, "k%d: v"), "[]") + `}`), refused: "spec.registration.labels: Too many: 21: must have at most 20 items"},
		"labels that are selected":        {given: `{targetSelector: {matchLabels: {site: factory}}, registration: {labels: {site: factory, ring: new}}}`},
		"labels of another site":          {given: `{targetSelector: {matchLabels: {site: factory}}, registration: {labels: {site: lab}}}`, refused: unlabeled},
		"labels that are missing":         {given: `{targetSelector: {matchLabels: {site: factory}}, registration: {}}`, refused: unlabeled},
		"a selector of other labels":      {given: `{targetSelector: {matchLabels: {site: factory}}, registration: {labels: {site: factory}}}`, when: `{targetSelector: {matchLabels: {site: lab}}}`, refused: unlabeled},
		"no targets":                      {given: registration(`maxTargets: 0`), refused: "spec.registration.maxTargets: spec.registration.maxTargets in body should be greater than or equal to 1"},
		"too many targets":                {given: registration(`maxTargets: 100001`), refused: "spec.registration.maxTargets: spec.registration.maxTargets in body should be less than or equal to 100000"},
	})
}
