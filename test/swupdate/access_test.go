// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package swupdate

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi/kube"
	"github.com/goshawk-dev/goshawk/internal/manager"
	"github.com/goshawk-dev/goshawk/test/cluster"
	"github.com/goshawk-dev/goshawk/test/world"
)

// A device connects over TLS with each configuration in docs/devices.md, is registered if no Target
// exists, and installs an image that comes through the device API. Then its credential is revoked,
// and it gets only 401.
func TestSwupdateConnectsAsDocumented(t *testing.T) {
	const token = "from-the-secret"
	for name, tt := range map[string]struct {
		credential string // the heading of its configuration in the docs
		prepare    func(s *story)
		registered bool
		revoke     func(s *story)
	}{
		"with a target token": {
			credential: "Target token",
			prepare: func(s *story) {
				target := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.name}}
				target.Spec.TokenSecretRef = &v1alpha1.SecretKeyReference{Name: "credentials", Key: "only"}
				if err := s.Client.Create(t.Context(), target); err != nil {
					t.Fatal(err)
				}
			},
			revoke: func(s *story) {
				s.Commit(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "credentials"}}, `stringData: {only: the-next-token}`)
			},
		},
		"with a gateway token": {
			credential: "Gateway token",
			prepare: func(s *story) {
				s.ApplySpec("DeviceAccess", "factory", `{gatewayToken: {secretName: credentials}, registration: {controllerIDPattern: "dev-[0-9a-f]{4}"}}`)
			},
			registered: true,
			revoke: func(s *story) {
				s.Commit(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "credentials"}}, `stringData: {only: the-next-token}`)
			},
		},
		"with a client certificate": {
			credential: "Client certificate",
			prepare: func(s *story) {
				s.ApplySpec("DeviceAccess", "factory", `{clientCertificate: {caSecretRef: {name: ca, key: ca.crt}}, registration: {controllerIDPattern: "dev-[0-9a-f]{4}"}}`)
			},
			registered: true,
			revoke: func(s *story) {
				s.Commit(&v1alpha1.DeviceAccess{ObjectMeta: metav1.ObjectMeta{Name: "factory"}}, `spec: {clientCertificate: {revokedSerials: ["0A:1B"]}}`)
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStoryOf(t, "dev-00a1")
			s.delivery = "delivery: Proxy, "
			files := issueCertificates(t, s.name, "0x0a1b")
			write(t, filepath.Join(files, "signer.pem"), read(t, s.signer.certificate()))
			s.secret("credentials", "only", token)
			s.secret("ca", "ca.crt", read(t, filepath.Join(files, "ca.crt")))
			tt.prepare(s)
			deviceAPI := serveTLS(t, s.Namespace, filepath.Join(files, "devices.crt"), filepath.Join(files, "devices.key"))
			documented := connection(t, tt.credential)
			replace := strings.NewReplacer("https://devices.example.com", deviceAPI, `"fleet"`, `"`+s.Namespace+`"`, "/etc/swupdate/", files+"/", "TOKEN", token, `-u "`, `-v -u "-p 1 `)
			startWith := func(command string) {
				s.device = startCommand(t, replace.Replace(documented.configuration), "sh", "-c", "exec "+replace.Replace(command))
			}

			startWith(documented.start)
			s.Eventually("the first poll", func() string {
				target := &v1alpha1.Target{}
				err := s.Client.Get(t.Context(), types.NamespacedName{Namespace: s.Namespace, Name: s.name}, target)
				if err == nil && target.Status.LastSeen != nil {
					return ""
				}
				return fmt.Sprintf("the target is %+v (%v)", target.Status, err)
			})
			if by := s.Target(s.name).Annotations[v1alpha1.DeviceAccessAnnotation]; (by == "factory") != tt.registered {
				t.Errorf("the target is registered by %q", by)
			}
			s.commit("firmware", s.signer.build(t, "1.0", s.installed(), "firmware 1.0", 0))
			s.Eventually("the image to be installed", func() string {
				for _, a := range s.Target(s.name).Status.Actions {
					for _, m := range a.Messages {
						if strings.Contains(m, "All Chunks Installed.") {
							return ""
						}
					}
				}
				return fmt.Sprintf("the status is %+v", s.Target(s.name).Status)
			})
			s.device.stop()
			startWith(documented.confirm)
			s.EventuallyRollout("firmware", "finishes", world.InState(v1alpha1.RolloutFinished))
			if a := s.action(); a.State != v1alpha1.ActionFinished {
				t.Errorf("the action is %s, want Finished", a.State)
			}
			if content := read(t, s.installed()); content != "firmware 1.0" {
				t.Errorf("the device has %q instead of the firmware", content)
			}

			tt.revoke(s)
			s.Eventually("the device to be refused", func() string { return s.refused(1) })
			s.commit("next", s.signer.build(t, "1.1", s.installed(), "firmware 1.1", 0))
			n := strings.Count(s.device.logged(), refusal)
			s.Eventually("three more refusals", func() string { return s.refused(n + 3) })
			if a := s.action(); a.State != v1alpha1.ActionFinished {
				t.Errorf("after the refusals the action is %+v", a)
			}
		})
	}
}

// refusal is what swupdate -v logs for a response 401.
const refusal = "code 401"

// refused returns a message if the device has logged fewer refusals.
func (s *story) refused(times int) string {
	if n := strings.Count(s.device.logged(), refusal); n < times {
		return fmt.Sprintf("it has logged %d refusals, want %d", n, times)
	}
	return ""
}

// A device with a wrong credential gets only 401; its target is not changed and not created.
func TestSwupdateWithAWrongCredential(t *testing.T) {
	t.Parallel()
	const gatewayToken = "let-all-in"
	s := newStoryOf(t, "other-000")
	targets := s.Targets("gateway", 6, nil)
	s.secret("factory", "only", gatewayToken)
	s.ApplySpec("DeviceAccess", "factory", `{targetSelector: {matchLabels: {site: factory}}, gatewayToken: {secretName: factory}, registration: {controllerIDPattern: "dev-[0-9]+", labels: {site: factory}}}`)
	s.Eventually("the DeviceAccess to be ready", func() string {
		a := &v1alpha1.DeviceAccess{}
		if err := s.Client.Get(t.Context(), types.NamespacedName{Namespace: s.Namespace, Name: "factory"}, a); err != nil {
			return err.Error()
		}
		if !world.Says(a.Status.Conditions, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady) {
			return fmt.Sprintf("its status is %+v", a.Status)
		}
		return ""
	})
	s.commit("firmware", s.signer.build(t, "1.3", s.installed(), "firmware 1.3", 0))
	t.Run("devices", func(t *testing.T) {
		for name, row := range map[string]struct{ device, credentials string }{
			"a wrong target token":                            {targets[0], "-k guessed"},
			"a wrong gateway token":                           {targets[1], "-g guessed"},
			"its target token as a gateway token":             {targets[2], "-g " + world.Token},
			"the gateway token as its target token":           {targets[3], "-k " + gatewayToken},
			"no token":                                        {targets[4], ""},
			"a gateway token that does not select its target": {targets[5], "-g " + gatewayToken},
			"a gateway token that does not register its id":   {s.name, "-g " + gatewayToken},
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				w, wire := *s.World, newWire(t, s.DeviceAPI)
				w.T = t
				start(t, pairing{deviceAPI: wire.url, tenant: s.Namespace, id: row.device, credentials: row.credentials, certificate: s.signer.certificate()}, "")
				w.Eventually("three polls", func() string {
					if polls := len(wire.find(http.MethodGet, "")); polls < 3 {
						return fmt.Sprintf("there were %d", polls)
					}
					return ""
				})
				for _, e := range wire.all() {
					if e.status != http.StatusUnauthorized {
						t.Errorf("want 401: %s", e)
					}
				}
			})
		}
	})
	for _, name := range targets {
		status := s.Target(name).Status
		if status.LastSeen != nil || len(status.Actions) != 0 || len(status.Attributes) != 0 || status.UpdateStatus != v1alpha1.UpdateStatusUnknown {
			t.Errorf("the status of %s after refused requests is %+v", name, status)
		}
	}
	if err := s.Client.Get(t.Context(), types.NamespacedName{Namespace: s.Namespace, Name: s.name}, &v1alpha1.Target{}); !apierrors.IsNotFound(err) {
		t.Errorf("a Target of a device that is not registered exists (%v)", err)
	}
}

func (s *story) secret(name, key, value string) {
	s.T.Helper()
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: name}, Type: kube.TokenSecretType, StringData: map[string]string{key: value}}
	if err := s.Client.Create(s.T.Context(), secret); err != nil {
		s.T.Fatal(err)
	}
}

// serveTLS runs one more replica of the device API until the test ends. It serves one namespace, at
// the HTTPS URL that is returned.
func serveTLS(t *testing.T, namespace, certificate, key string) (deviceAPI string) {
	t.Helper()
	config, _ := cluster.Start(t)
	o := manager.Options{DeviceAPI: true, WatchNamespaces: []string{namespace}, CertificateFile: certificate, KeyFile: key}
	address, stop, err := world.Start(context.Background(), o, func(ctx context.Context, o manager.Options) error {
		return manager.Run(ctx, config, o)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return strings.Replace(address, "http://", "https://", 1)
}

// issueCertificates returns a folder with the certificates of two CAs (servers.pem and ca.crt), of
// the server (devices.crt) and of a device (<device>.crt), with their keys.
func issueCertificates(t *testing.T, device, serial string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	key := []string{"-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"}
	openssl := func(args ...string) { t.Helper(); run(t, folder, "", "openssl", args...) }
	for ca, name := range map[string]string{"servers": "servers.pem", "ca": "ca.crt"} {
		openssl(append([]string{"req", "-x509", "-days", "2", "-subj", "/CN=" + ca, "-keyout", ca + ".key", "-out", name}, key...)...)
	}
	for _, of := range []struct{ name, subject, extension, ca, caKey, serial string }{
		{"devices", "/CN=devices", "subjectAltName=IP:127.0.0.1", "servers.pem", "servers.key", "1"},
		{device, "/CN=" + device, "extendedKeyUsage=clientAuth", "ca.crt", "ca.key", serial},
	} {
		openssl(append([]string{"req", "-subj", of.subject, "-addext", of.extension, "-keyout", of.name + ".key", "-out", of.name + ".csr"}, key...)...)
		openssl("x509", "-req", "-in", of.name+".csr", "-CA", of.ca, "-CAkey", of.caKey, "-set_serial", of.serial, "-copy_extensions", "copy", "-days", "2", "-out", of.name+".crt")
	}
	return folder
}

// documented is what docs/devices.md says about how to connect swupdate.
type documented struct{ configuration, start, confirm string }

// connection returns what the docs say for a credential.
func connection(t *testing.T, credential string) documented {
	t.Helper()
	_, part, found := strings.Cut(read(t, filepath.Join(cluster.Root(), "docs", "devices.md")), "\n## Connect swupdate\n")
	if !found {
		t.Fatal("docs/devices.md does not say how to connect swupdate")
	}
	part, _, _ = strings.Cut(part, "\n## ")
	between := func(text, start string) string {
		t.Helper()
		_, text, found := strings.Cut(text, start)
		text, _, ends := strings.Cut(text, "\n```")
		if !found || !ends {
			t.Fatalf("docs/devices.md has no block %q", start)
		}
		return text
	}
	configuration := between(part, "```text\n")
	_, own, _ := strings.Cut(part, "\n"+credential+":\n")
	_, confirm, _ := strings.Cut(part, "```sh\n")
	return documented{
		configuration: strings.Replace(configuration, "  # credential", between(own, "```text\n"), 1),
		start:         between(part, "```sh\n"),
		confirm:       between(confirm, "```sh\n"),
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
