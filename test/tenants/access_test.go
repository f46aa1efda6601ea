// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package tenants

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/internal/testing/nginx"
	"github.com/goshawk-dev/goshawk/internal/testing/ports"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

const factory = `
apiVersion: goshawk.dev/v1alpha1
kind: DeviceAccess
metadata: {name: factory}
spec:
  targetSelector: {matchLabels: {site: factory}}
  gatewayToken: {secretName: gateway}
  registration: {controllerIDPattern: "device-[0-9]+", labels: {site: factory}, type: gateway-v2, maxTargets: 4}
`

const gatewayToken = "let-all-in"

// served binds Goshawk's two accounts in a fresh namespace.
func served(t *testing.T) string {
	t.Helper()
	c := applyOverlay(t)
	namespace := cluster.Namespace(t)
	bind(t, c, namespace, "goshawk-device-api", "goshawk-device-api")
	bind(t, c, namespace, "goshawk-device-api", "goshawk-device-api-tokens")
	bind(t, c, namespace, "goshawk-manager", "goshawk-manager")
	return namespace
}

func createSecret(t *testing.T, namespace, name string, kind corev1.SecretType, data map[string]string) {
	t.Helper()
	_, c := cluster.Start(t)
	if err := c.Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Type: kind, StringData: data}); err != nil {
		t.Fatal(err)
	}
}

func deviceAccess(w *world.World) *v1alpha1.DeviceAccess {
	w.T.Helper()
	a := &v1alpha1.DeviceAccess{}
	if err := w.Client.Get(w.T.Context(), types.NamespacedName{Namespace: w.Namespace, Name: "factory"}, a); err != nil {
		w.T.Fatal(err)
	}
	return a
}

// eventuallySays waits for a condition of the DeviceAccess; with status "" the condition is absent.
func eventuallySays(w *world.World, condition string, status metav1.ConditionStatus, reason, words string) {
	w.T.Helper()
	w.Eventually("condition "+condition+" "+reason, func() string {
		a := deviceAccess(w)
		c := world.Condition(a.Status.Conditions, condition)
		if status == "" && c == nil || c != nil && c.Status == status && c.Reason == reason && strings.Contains(c.Message, words) {
			return ""
		}
		return fmt.Sprintf("its status is %+v", a.Status)
	})
}

// ask sends one poll with an Authorization header.
func (g *goshawk) ask(namespace, device, authorization string) int {
	g.t.Helper()
	request, err := http.NewRequestWithContext(g.t.Context(), http.MethodGet, g.deviceAPI+"/"+namespace+"/controller/v1/"+device, nil)
	if err != nil {
		g.t.Fatal(err)
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		g.t.Log(err)
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// Devices that no one has described come through a gateway, are registered and updated, with the
// rights that are shipped and no others. The token of the gateway is then taken away.
func TestGatewayRegistersDevicesThatAreThenUpdated(t *testing.T) {
	namespace := served(t)
	g := start(t, "goshawk-device-api", manager.Options{DeviceAPI: true, WatchNamespaces: []string{namespace}})
	controllers := start(t, "goshawk-manager", manager.Options{Controllers: true, WatchNamespaces: []string{namespace}})
	w := g.in(namespace)
	createSecret(t, namespace, "gateway", kube.TokenSecretType, map[string]string{"now": gatewayToken, "next": "let-all-in-soon"})
	w.Apply(factory)
	eventuallySays(w, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady, "")
	w.Set("firmware-1", "1.0")
	w.Play(func(c *devicesim.Config) {
		c.GatewayToken = gatewayToken
		for i := range c.Devices {
			c.Devices[i].Token = ""
		}
	}, devicesim.Obedient, "device-1", "device-2", "device-3", "device-4")
	for i := 1; i <= 4; i++ {
		w.Eventually("the registered target", func() string {
			target := &v1alpha1.Target{}
			if err := w.Client.Get(t.Context(), types.NamespacedName{Namespace: namespace, Name: fmt.Sprintf("device-%d", i)}, target); err != nil {
				return err.Error()
			}
			if target.Labels["site"] != "factory" || target.Spec.Type != "gateway-v2" || target.Annotations[v1alpha1.DeviceAccessAnnotation] != "factory" {
				return fmt.Sprintf("it is %+v", target)
			}
			return ""
		})
	}
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 0, targetSelector: {matchLabels: {site: factory}}, successThreshold: 100}`)
	r := w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	if got := *r.Status.Targets; got != (v1alpha1.Counts{Targets: 4, Succeeded: 4}) {
		t.Errorf("counts are %+v", got)
	}
	eventuallySays(w, v1alpha1.ConditionRegistrationStopped, metav1.ConditionTrue, v1alpha1.ReasonMaxTargetsReached, "spec.registration.maxTargets is 4")
	w.Eventually("the number of registered targets", func() string {
		return is("registered", int(deviceAccess(w).Status.Registered), 4)
	})
	for device, authorization := range map[string]string{
		"device-5": "GatewayToken " + gatewayToken, "other-1": "GatewayToken " + gatewayToken, "device-1": "GatewayToken wrong", "device-2": "TargetToken " + gatewayToken, "device-3": "",
	} {
		if code := g.ask(namespace, device, authorization); code != http.StatusUnauthorized {
			t.Errorf("%s with %q gets %d", device, authorization, code)
		}
	}
	if code := g.ask(namespace, "device-1", "GatewayToken let-all-in-soon"); code != http.StatusOK {
		t.Errorf("the second key of the rotation gets %d", code)
	}
	for name, process := range map[string]*goshawk{"device API": g, "controllers": controllers} {
		if forbidden := process.seen(); len(forbidden) > 0 {
			t.Errorf("the %s were refused %v", name, forbidden)
		}
	}

	w.Commit(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "gateway"}}, `data: {now: null}`)
	w.Eventually("the removed token is refused", func() string {
		return is("the answer", g.ask(namespace, "device-1", "GatewayToken "+gatewayToken), http.StatusUnauthorized)
	})
	if code := g.ask(namespace, "device-1", "GatewayToken let-all-in-soon"); code != http.StatusOK {
		t.Errorf("the token that stays gets %d", code)
	}
	w.Kubectl("label", "tgt", "device-1", "site=lab", "--overwrite")
	w.Eventually("a target that is not selected any more is refused", func() string {
		return is("the answer", g.ask(namespace, "device-1", "GatewayToken let-all-in-soon"), http.StatusUnauthorized)
	})
	w.Kubectl("delete", "devacc", "factory")
	w.Eventually("without the DeviceAccess all are refused", func() string {
		return is("the answer", g.ask(namespace, "device-2", "GatewayToken let-all-in-soon"), http.StatusUnauthorized)
	})
	if target := w.Target("device-2"); target.DeletionTimestamp != nil {
		t.Error("the registered target is deleted with the DeviceAccess")
	}
}

// A DeviceAccess says what is wrong with its Secrets, and that it is right again.
func TestDeviceAccessSaysWhatIsWrong(t *testing.T) {
	namespace := served(t)
	g := start(t, "goshawk-device-api", manager.Options{DeviceAPI: true, WatchNamespaces: []string{namespace}})
	w := g.in(namespace)
	elsewhere := cluster.Namespace(t)
	createSecret(t, elsewhere, "gateway", kube.TokenSecretType, map[string]string{"now": gatewayToken})
	w.Apply(factory)
	eventuallySays(w, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound, "Secret gateway in namespace "+namespace)
	eventuallySays(w, v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonSecretNotFound, "spec.gatewayToken.secretName")
	if code := g.ask(namespace, "device-1", "GatewayToken "+gatewayToken); code != http.StatusUnauthorized {
		t.Errorf("the token of another namespace gets %d", code)
	}

	createSecret(t, namespace, "opaque", corev1.SecretTypeOpaque, map[string]string{"now": gatewayToken})
	w.Commit(&v1alpha1.DeviceAccess{ObjectMeta: metav1.ObjectMeta{Name: "factory"}}, `spec: {gatewayToken: {secretName: opaque}}`)
	eventuallySays(w, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretWrongType, string(kube.TokenSecretType))
	if code := g.ask(namespace, "device-1", "GatewayToken "+gatewayToken); code != http.StatusUnauthorized {
		t.Errorf("a token of a Secret of another type gets %d", code)
	}

	createSecret(t, namespace, "gateway", kube.TokenSecretType, map[string]string{"now": " \n"})
	w.Commit(&v1alpha1.DeviceAccess{ObjectMeta: metav1.ObjectMeta{Name: "factory"}}, `spec: {gatewayToken: {secretName: gateway}}`)
	eventuallySays(w, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTokenEmpty, `key "now"`)
	w.Commit(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "gateway"}}, `stringData: {now: `+gatewayToken+`}`)
	eventuallySays(w, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady, "")
	eventuallySays(w, v1alpha1.ConditionStalled, "", "", "")
	if code := g.ask(namespace, "device-1", "GatewayToken "+gatewayToken); code != http.StatusOK {
		t.Errorf("the token gets %d", code)
	}

	w.Commit(&v1alpha1.DeviceAccess{ObjectMeta: metav1.ObjectMeta{Name: "factory"}}, `spec: {registration: {controllerIDPattern: "((abc){30}[a-f]{10}){30}"}}`)
	eventuallySays(w, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidSpec, "spec.registration.controllerIDPattern")
	if code := g.ask(namespace, "device-1", "GatewayToken "+gatewayToken); code != http.StatusOK {
		t.Errorf("with a broken pattern a registered device gets %d", code)
	}
}

// Namespaces that are not watched are not served, whatever is in them.
func TestDeviceAccessOfANamespaceThatIsNotWatched(t *testing.T) {
	watched, other := served(t), served(t)
	g := start(t, "goshawk-device-api", manager.Options{DeviceAPI: true, WatchNamespaces: []string{watched}})
	w := g.in(other)
	createSecret(t, other, "gateway", kube.TokenSecretType, map[string]string{"now": gatewayToken})
	w.Apply(factory)
	eventually(t, "the watched namespace", func() string {
		return is("the answer", g.ask(watched, "device-1", "GatewayToken "+gatewayToken), http.StatusUnauthorized)
	})
	if code := g.ask(other, "device-1", "GatewayToken "+gatewayToken); code != http.StatusNotFound {
		t.Errorf("a device of another namespace gets %d", code)
	}
	time.Sleep(5 * time.Second)
	if a := deviceAccess(w); a.Status.ObservedGeneration != -1 {
		t.Errorf("its status is %+v", a.Status)
	}
}

// pair is a certificate with its key.
type pair struct {
	t           *testing.T
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func issue(t *testing.T, by *pair, template x509.Certificate) *pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := &template, key
	if by != nil {
		parent, signer = by.certificate, by.key
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &pair{t, certificate, key}
}

func newCA(t *testing.T, name string) *pair {
	return issue(t, nil, x509.Certificate{Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(1), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
}

func (p *pair) device(name string, serial int64) *pair {
	return issue(p.t, p, x509.Certificate{Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(serial), ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
}

func (p *pair) server(serial int64) *pair {
	return issue(p.t, p, x509.Certificate{Subject: pkix.Name{CommonName: "devices"}, SerialNumber: big.NewInt(serial), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
}

func (p *pair) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: p.certificate.Raw}))
}

// write writes the certificate and its key as cert-manager and kubelet do, the key last.
func (p *pair) write(certificate, key string) {
	p.t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	for path, text := range map[string][]byte{certificate: []byte(p.pem()), key: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		if err := os.WriteFile(path+".new", text, 0o600); err != nil {
			p.t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			p.t.Fatal(err)
		}
	}
}

// clientWith returns an HTTP client with this certificate, or without one. It keeps its connection.
func clientWith(server *pair, p *pair) *http.Client {
	roots := x509.NewCertPool()
	roots.AddCert(server.certificate)
	config := &tls.Config{RootCAs: roots}
	if p != nil {
		config.Certificates = []tls.Certificate{{Certificate: [][]byte{p.certificate.Raw}, PrivateKey: p.key}}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
}

// TLS ends at Goshawk, which takes client certificates of the CA of the namespace. A revoked
// certificate is refused on the connection that is open. The server's certificate is replaced
// without a restart.
func TestClientCertificatesAtGoshawk(t *testing.T) {
	namespace := served(t)
	folder := t.TempDir()
	serverCA, ca, otherCA := newCA(t, "servers"), newCA(t, "devices"), newCA(t, "others")
	certificate, key := filepath.Join(folder, "tls.crt"), filepath.Join(folder, "tls.key")
	serverCA.server(1).write(certificate, key)
	g := start(t, "goshawk-device-api", manager.Options{DeviceAPI: true, WatchNamespaces: []string{namespace}, CertificateFile: certificate, KeyFile: key})
	w := g.in(namespace)
	createSecret(t, namespace, "ca", kube.TokenSecretType, map[string]string{"ca.crt": ca.pem()})
	createSecret(t, namespace, "tokens", kube.TokenSecretType, map[string]string{"all": world.Token})
	w.Apply(`
apiVersion: goshawk.dev/v1alpha1
kind: DeviceAccess
metadata: {name: factory}
spec:
  clientCertificate: {caSecretRef: {name: ca, key: ca.crt}}
  registration: {controllerIDPattern: "device-[0-9]+"}
`)
	address := strings.TrimPrefix(g.deviceAPI, "http://")
	ask := func(c *http.Client, device, authorization string) (int, *x509.Certificate) {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+"/"+namespace+"/controller/v1/"+device, nil)
		if err != nil {
			t.Fatal(err)
		}
		if authorization != "" {
			request.Header.Set("Authorization", authorization)
		}
		response, err := c.Do(request)
		if err != nil {
			t.Log(err)
			return 0, nil
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		if response.StatusCode == http.StatusOK && strings.Contains(string(body), "http://") {
			t.Errorf("a link of an HTTPS server is %s", body)
		}
		if response.Proto != "HTTP/1.1" {
			t.Errorf("the protocol is %s", response.Proto)
		}
		return response.StatusCode, response.TLS.PeerCertificates[0]
	}
	device := clientWith(serverCA, ca.device("device-1", 0x0a1b))
	w.Eventually("the device is registered by its certificate", func() string {
		code, _ := ask(device, "device-1", "")
		return is("the answer", code, http.StatusOK)
	})
	if target := w.Target("device-1"); target.Annotations[v1alpha1.DeviceAccessAnnotation] != "factory" {
		t.Errorf("the target is %+v", target)
	}
	for name, tc := range map[string]struct {
		client *http.Client
		device string
	}{
		"no certificate":                  {clientWith(serverCA, nil), "device-1"},
		"a certificate of another CA":     {clientWith(serverCA, otherCA.device("device-1", 5)), "device-1"},
		"a certificate of another device": {clientWith(serverCA, ca.device("device-2", 6)), "device-1"},
		"the pattern does not match":      {clientWith(serverCA, ca.device("other", 7)), "other"},
		"a self-signed certificate":       {clientWith(serverCA, newCA(t, "device-1")), "device-1"},
	} {
		if code, _ := ask(tc.client, tc.device, ""); code != http.StatusUnauthorized {
			t.Errorf("%s: the answer is %d", name, code)
		}
	}
	target := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "described"}}
	target.Spec.TokenSecretRef = &v1alpha1.SecretKeyReference{Name: "tokens", Key: "all"}
	if err := w.Client.Create(t.Context(), target); err != nil {
		t.Fatal(err)
	}
	w.Eventually("a target token over TLS", func() string {
		code, _ := ask(clientWith(serverCA, nil), "described", "TargetToken "+world.Token)
		return is("the answer", code, http.StatusOK)
	})

	serverCA.server(2).write(certificate, key)
	w.Eventually("new connections get the new certificate of the server", func() string {
		code, shown := ask(clientWith(serverCA, nil), "described", "TargetToken "+world.Token)
		if code != http.StatusOK || shown.SerialNumber.Int64() != 2 {
			return fmt.Sprintf("answer %d, certificate %v", code, shown)
		}
		return ""
	})
	if err := os.WriteFile(certificate, []byte("broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if code, _ := ask(clientWith(serverCA, nil), "described", "TargetToken "+world.Token); code != http.StatusOK {
		t.Errorf("with a broken file the answer is %d", code)
	}

	w.Commit(&v1alpha1.DeviceAccess{ObjectMeta: metav1.ObjectMeta{Name: "factory"}}, `spec: {clientCertificate: {revokedSerials: ["0A:1B"]}}`)
	w.Eventually("a revoked certificate is refused on its connection", func() string {
		code, _ := ask(device, "device-1", "")
		return is("the answer", code, http.StatusUnauthorized)
	})
	w.Commit(&v1alpha1.DeviceAccess{ObjectMeta: metav1.ObjectMeta{Name: "factory"}}, `spec: {clientCertificate: {revokedSerials: null}}`)
	w.Eventually("it is accepted again", func() string {
		code, _ := ask(device, "device-1", "")
		return is("the answer", code, http.StatusOK)
	})
	if err := w.Client.Delete(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "ca"}}); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	w.Eventually("without the CA it is refused", func() string {
		code, _ := ask(device, "device-1", "")
		return is("the answer", code, http.StatusUnauthorized)
	})
	eventuallySays(w, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound, "spec.clientCertificate.caSecretRef")
}

// A proxy on a trusted address names the device; the same headers from a device itself are nothing.
func TestTrustedProxy(t *testing.T) {
	namespace := served(t)
	g := start(t, "goshawk-device-api", manager.Options{DeviceAPI: true, WatchNamespaces: []string{namespace}})
	w := g.in(namespace)
	access := func(address string) string {
		return `
apiVersion: goshawk.dev/v1alpha1
kind: DeviceAccess
metadata: {name: factory}
spec: {trustedProxy: {addresses: [` + address + `], authorities: ["CN=Fleet CA"]}, registration: {}}
`
	}
	ask := func(device string, headers ...string) int {
		t.Helper()
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, g.deviceAPI+"/"+namespace+"/controller/v1/"+device, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i < len(headers); i += 2 {
			request.Header.Add(headers[i], headers[i+1])
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Log(err)
			return 0
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	w.Apply(access(`"127.0.0.1"`))
	w.Eventually("the device of the proxy", func() string {
		return is("the answer", ask("device-1", "X-Controller-Id", "device-1", "X-Authority", "CN=Fleet CA"), http.StatusOK)
	})
	for name, code := range map[string]int{
		"another device":   ask("device-2", "X-Controller-Id", "device-1", "X-Authority", "CN=Fleet CA"),
		"no authority":     ask("device-1", "X-Controller-Id", "device-1"),
		"another CA":       ask("device-1", "X-Controller-Id", "device-1", "X-Authority", "CN=Other CA"),
		"two devices":      ask("device-1", "X-Controller-Id", "device-1", "X-Controller-Id", "device-2", "X-Authority", "CN=Fleet CA"),
		"no device":        ask("device-1", "X-Authority", "CN=Fleet CA"),
		"a second CA":      ask("device-1", "X-Controller-Id", "device-1", "X-Authority", "CN=Other CA", "X-Authority-1", "CN=Fleet CA"),
		"the header twice": ask("device-1", "X-Controller-Id", "device-1", "X-Authority", "CN=Other CA", "X-Authority", "CN=Fleet CA"),
		"other headers":    ask("device-1", "X-Ssl-Client-Cn", "device-1", "X-Authority", "CN=Fleet CA"),
		"forwarded by one": ask("device-1", "X-Forwarded-For", "127.0.0.1", "X-Controller-Id", "device-1"),
	} {
		if code != http.StatusUnauthorized {
			t.Errorf("%s: the answer is %d", name, code)
		}
	}
	if code := ask("device-1", "X-Controller-Id", "device-1", "X-Authority-1", "CN=Root", "X-Authority-2", "cn=fleet ca"); code != http.StatusOK {
		t.Errorf("with numbered authorities the answer is %d", code)
	}
	w.Apply(access(`"10.9.9.9"`))
	w.Eventually("an address that is not trusted any more", func() string {
		return is("the answer", ask("device-1", "X-Controller-Id", "device-1", "X-Authority", "CN=Fleet CA"), http.StatusUnauthorized)
	})
}

// documented returns the commands of a part of docs/devices.md, in their order, and the
// configuration of nginx in it.
func documented(t *testing.T, heading string) (commands []string, configuration string) {
	t.Helper()
	_, page, found := strings.Cut(fileOf(t, "docs", "devices.md"), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("docs/devices.md has no part %s", heading)
	}
	page, _, _ = strings.Cut(page, "\n## ")
	for block := range strings.SplitSeq(page, "\n```") {
		if text, ok := strings.CutPrefix(block, "sh\n"); ok {
			commands = append(commands, text)
		}
		if text, ok := strings.CutPrefix(block, "nginx\n"); ok {
			configuration = text
		}
	}
	return commands, configuration
}

// requireProgram skips the test if a program of the documented commands is not installed.
func requireProgram(t *testing.T, name string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("this test needs %s, which is not installed", name)
	}
}

// Every command about credentials in docs/devices.md works as it stands, one after the other.
func TestDocumentedCommandsAboutCredentials(t *testing.T) {
	requireProgram(t, "openssl")
	requireProgram(t, "curl")
	nginx.Require(t)
	namespace := served(t)
	folder := t.TempDir()
	serverCA := newCA(t, "servers")
	serverCA.server(1).write(filepath.Join(folder, "devices.crt"), filepath.Join(folder, "devices.key"))
	if err := os.WriteFile(filepath.Join(folder, "servers.pem"), []byte(serverCA.pem()), 0o600); err != nil {
		t.Fatal(err)
	}
	watch := []string{namespace}
	overTLS := start(t, "goshawk-device-api", manager.Options{DeviceAPI: true, WatchNamespaces: watch, CertificateFile: filepath.Join(folder, "devices.crt"), KeyFile: filepath.Join(folder, "devices.key")})
	behindProxy := start(t, "goshawk-device-api", manager.Options{DeviceAPI: true, WatchNamespaces: watch})
	w := behindProxy.in(namespace)
	if err := w.Client.Create(t.Context(), &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "gw-01"}}); err != nil {
		t.Fatal(err)
	}
	proxy := ports.Free(t)
	commands, configuration := documented(t, "Credentials")
	replace := strings.NewReplacer("-n fleet ", "-n "+namespace+" ", "/fleet/", "/"+namespace+"/", "goshawk://fleet/", "goshawk://"+namespace+"/",
		"https://devices.example.com", "https://"+strings.TrimPrefix(overTLS.deviceAPI, "http://"), "https://proxy.example.com", "https://"+proxy, "10.1.0.0/16", "127.0.0.0/8")
	polled := 0
	for _, command := range commands {
		command = replace.Replace(command)
		if strings.Contains(command, proxy) {
			nginx.Run(t, folder, strings.NewReplacer("listen 443", "listen "+proxy, "/etc/nginx/fleet-ca.crt", filepath.Join(folder, "ca.crt"), "/etc/nginx/", folder+"/",
				"http://goshawk-device-api.goshawk-system.svc:8080", behindProxy.deviceAPI).Replace(configuration), proxy)
		}
		// What the API server has accepted takes a moment until the device API knows it.
		command = "curl() { for i in $(seq 100); do out=$(command curl \"$@\") && { echo \"$out\"; return 0; }; sleep 0.1; done; echo \"$out\"; return 1; }\n" + command
		c := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", command)
		c.Dir = folder
		c.Env = append(os.Environ(), "KUBECONFIG="+cluster.Kubeconfig(t), "CURL_CA_BUNDLE="+filepath.Join(folder, "servers.pem"), "PATH="+filepath.Dir(cluster.KubectlPath(t))+":"+os.Getenv("PATH"))
		out, err := c.CombinedOutput()
		if err != nil {
			t.Fatalf("%s\n%v\n%s", command, err, out)
		}
		polled += strings.Count(string(out), `"polling"`)
	}
	if len(commands) < 8 || polled != 5 {
		t.Errorf("%d blocks of commands, %d polls answered", len(commands), polled)
	}
	for name, by := range map[string]string{"dev-00a1": "factory", "dev-00b2": "certificates", "dev-00c3": "certificates"} {
		if target := w.Target(name); target.Annotations[v1alpha1.DeviceAccessAnnotation] != by {
			t.Errorf("the target %s is registered by %q", name, target.Annotations[v1alpha1.DeviceAccessAnnotation])
		}
	}
}

// The documented patch gives the device API its certificate.
func TestDocumentedPatchForTLS(t *testing.T) {
	_, patch, found := strings.Cut(fileOf(t, "docs", "devices.md"), "```yaml\npatches:\n")
	if !found {
		t.Fatal("docs/devices.md has no patch")
	}
	patch, _, _ = strings.Cut(patch, "\n```")
	folder := t.TempDir()
	base, err := filepath.Rel(folder, filepath.Join(cluster.Root(), "config", "default"))
	if err != nil {
		t.Fatal(err)
	}
	text := "apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [" + base + "]\npatches:\n" + patch + "\n"
	if err := os.WriteFile(filepath.Join(folder, "kustomization.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cluster.Start(t)
	built := cluster.Kubectl(t, "kustomize", folder)
	for _, want := range []string{"- --ddi-tls-cert-file=/tls/tls.crt\n", "- --ddi-tls-key-file=/tls/tls.key\n", "mountPath: /tls\n", "secretName: device-api-tls\n"} {
		if strings.Count(built, want) != 1 {
			t.Errorf("what is built has %d times %q", strings.Count(built, want), want)
		}
	}
}
