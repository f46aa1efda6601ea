// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/testing/timing"
)

var factoryKey = types.NamespacedName{Namespace: fleetNamespace, Name: "factory"}

// certify makes a certificate of a CA that lasts a day in the time of the worlds, or the CA itself.
func certify(t testing.TB, name string, parent *x509.Certificate, signer *ecdsa.PrivateKey) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{Subject: pkix.Name{CommonName: name}, SerialNumber: big.NewInt(0x0a1b), NotBefore: rolloutStart.Add(-time.Hour), NotAfter: rolloutStart.Add(24 * time.Hour)}
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return certificate, key
}

// guard is a world with one DeviceAccess that accepts all kinds of credentials for the targets of
// the site factory: dev-0, and not dev-1.
type guard struct {
	*deviceAPI
	gateway, certificate, proxy deviceapi.Credentials
}

func newGuard(t testing.TB, change ...func(*v1alpha1.DeviceAccess)) *guard {
	t.Helper()
	w := newWorld(t, 2)
	ca, key := certify(t, "fleet", nil, nil)
	leaf, _ := certify(t, "dev-0", ca, key)
	factory := &v1alpha1.DeviceAccess{ObjectMeta: built("factory"), Spec: v1alpha1.DeviceAccessSpec{
		TargetSelector:    &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{"site": "factory"}},
		GatewayToken:      &v1alpha1.GatewayToken{SecretName: "gateway"},
		ClientCertificate: &v1alpha1.ClientCertificate{CASecretRef: v1alpha1.SecretKeyReference{Name: "ca", Key: "ca.crt"}},
		TrustedProxy:      &v1alpha1.TrustedProxy{Addresses: []string{"10.1.0.0/16"}, Authorities: []string{"fleet"}},
	}}
	for _, f := range change {
		f(factory)
	}
	w.editTarget(func(t *v1alpha1.Target) { t.Labels = map[string]string{"site": "factory"} })
	for _, o := range []client.Object{
		factory,
		&corev1.Secret{ObjectMeta: built("gateway"), Type: TokenSecretType, Data: map[string][]byte{"old": []byte("gate-1"), "new": []byte("gate-2\n")}},
		&corev1.Secret{ObjectMeta: built("ca"), Type: TokenSecretType, Data: map[string][]byte{"ca.crt": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})}},
	} {
		if err := w.server.Create(context.Background(), o); err != nil {
			t.Fatal(err)
		}
	}
	return &guard{
		deviceAPI: w.deviceAPI(Options{}),
		gateway:   deviceapi.Credentials{GatewayToken: "gate-1"}, certificate: deviceapi.Credentials{Certificates: []*x509.Certificate{leaf}},
		proxy: deviceapi.Credentials{Peer: netip.MustParseAddr("10.1.2.3"), Header: map[string][]string{"X-Controller-Id": {"dev-0"}, "X-Authority": {"fleet"}}},
	}
}

func registers(a *v1alpha1.DeviceAccess) {
	a.Spec.Registration = &v1alpha1.Registration{ControllerIDPattern: "new-.*|NEW-.*|dev-.*", Labels: map[string]v1alpha1.LabelValue{"site": "factory"}, Type: "gateway-v2", MaxTargets: 3}
}

func (g *guard) factory() *v1alpha1.DeviceAccess {
	g.w.t.Helper()
	a := &v1alpha1.DeviceAccess{}
	if err := g.w.server.Get(context.Background(), factoryKey, a); err != nil {
		g.w.t.Fatal(err)
	}
	return a
}

// edit changes the DeviceAccess as a user would.
func (g *guard) edit(change func(*v1alpha1.DeviceAccess)) {
	g.w.t.Helper()
	edit(g.w, "factory", &v1alpha1.DeviceAccess{}, func(a *v1alpha1.DeviceAccess) { change(a); a.Generation++ })
	g.sync()
}

func (g *guard) editSecret(name string, change func(*corev1.Secret)) {
	g.w.t.Helper()
	edit(g.w, name, &corev1.Secret{}, change)
	g.sync()
}

func (g *guard) ask(id string, c deviceapi.Credentials) error {
	return g.Authorize(context.Background(), deviceapi.Device{Namespace: fleetNamespace, ControllerID: id}, c)
}

// checked lets the status be written, and returns the object.
func (g *guard) checked() *v1alpha1.DeviceAccess {
	g.w.t.Helper()
	g.sync()
	g.status.check(context.Background(), factoryKey)
	g.sync()
	return g.factory()
}

func without(c deviceapi.Credentials, change func(*deviceapi.Credentials)) deviceapi.Credentials {
	change(&c)
	return c
}

func TestCredentialsOfADeviceAccess(t *testing.T) {
	g := newGuard(t)
	second := deviceapi.Credentials{GatewayToken: "gate-2"}
	foreignCA, foreignKey := certify(t, "other", nil, nil)
	foreign, _ := certify(t, "dev-0", foreignCA, foreignKey)
	for name, tc := range map[string]struct {
		device string
		c      deviceapi.Credentials
		ok     bool
	}{
		"a gateway token":                                   {"dev-0", g.gateway, true},
		"the second token of a rotation":                    {"dev-0", second, true},
		"a gateway token for a target that is not selected": {"dev-1", g.gateway, false},
		"a gateway token for an unknown device":             {"dev-9", g.gateway, false},
		"a wrong gateway token":                             {"dev-0", deviceapi.Credentials{GatewayToken: "gate-3"}, false},
		"an empty gateway token":                            {"dev-0", deviceapi.Credentials{}, false},
		"a gateway token as a target token":                 {"dev-0", deviceapi.Credentials{TargetToken: "gate-1"}, false},
		"a target token as a gateway token":                 {"dev-0", deviceapi.Credentials{GatewayToken: "let-me-in"}, false},
		"a certificate":                                     {"dev-0", g.certificate, true},
		"the certificate of another device":                 {"dev-1", g.certificate, false},
		"a certificate of another CA":                       {"dev-0", deviceapi.Credentials{Certificates: []*x509.Certificate{foreign}}, false},
		"headers of the proxy":                              {"dev-0", g.proxy, true},
		"headers of the proxy for another device":           {"dev-1", g.proxy, false},
		"headers of the proxy from another address":         {"dev-0", without(g.proxy, func(c *deviceapi.Credentials) { c.Peer = netip.MustParseAddr("192.0.2.1") }), false},
		"the target token":                                  {"dev-1", deviceapi.Credentials{TargetToken: "let-me-in"}, true},
		"the target token and a wrong gateway token":        {"dev-0", deviceapi.Credentials{TargetToken: "let-me-in", GatewayToken: "gate-3"}, true},
		"a wrong target token and a gateway token":          {"dev-0", deviceapi.Credentials{TargetToken: "no", GatewayToken: "gate-1"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if err := g.ask(tc.device, tc.c); tc.ok && err != nil || !tc.ok && !errors.Is(err, deviceapi.ErrUnauthorized) {
				t.Errorf("the answer is %v, want accepted %v", err, tc.ok)
			}
		})
	}
	elsewhere := deviceapi.Device{Namespace: "elsewhere", ControllerID: "dev-0"}
	for _, c := range []deviceapi.Credentials{g.gateway, g.certificate, g.proxy} {
		if err := g.Authorize(context.Background(), elsewhere, c); !errors.Is(err, deviceapi.ErrUnauthorized) {
			t.Errorf("in another namespace the answer is %v", err)
		}
	}
}

// A device that has been accepted is refused at its next request after its credentials are revoked,
// and the other credentials of the same object continue to work.
func TestCredentialsRevokedWhileConnected(t *testing.T) {
	type which struct{ gateway, certificate, proxy bool }
	for name, tc := range map[string]struct {
		revoke func(g *guard)
		left   which
	}{
		"nothing":                            {func(*guard) {}, which{true, true, true}},
		"the key of the token is removed":    {func(g *guard) { g.editSecret("gateway", func(s *corev1.Secret) { delete(s.Data, "old") }) }, which{false, true, true}},
		"the token is replaced":              {func(g *guard) { g.editSecret("gateway", func(s *corev1.Secret) { s.Data["old"] = []byte("gate-9") }) }, which{false, true, true}},
		"the Secret of the token is deleted": {func(g *guard) { g.remove(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "gateway"}}) }, which{false, true, true}},
		"the Secret gets another type":       {func(g *guard) { g.editSecret("gateway", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }) }, which{false, true, true}},
		"another Secret is named":            {func(g *guard) { g.edit(func(a *v1alpha1.DeviceAccess) { a.Spec.GatewayToken.SecretName = "gone" }) }, which{false, true, true}},
		"gatewayToken is removed":            {func(g *guard) { g.edit(func(a *v1alpha1.DeviceAccess) { a.Spec.GatewayToken = nil }) }, which{false, true, true}},
		"the serial is revoked": {func(g *guard) {
			g.edit(func(a *v1alpha1.DeviceAccess) { a.Spec.ClientCertificate.RevokedSerials = []string{"0A:1B"} })
		}, which{true, false, true}},
		"the Secret of the CA is deleted": {func(g *guard) { g.remove(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "ca"}}) }, which{true, false, true}},
		"the CA is replaced": {func(g *guard) {
			other, _ := certify(g.w.t, "other", nil, nil)
			g.editSecret("ca", func(s *corev1.Secret) {
				s.Data["ca.crt"] = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: other.Raw})
			})
		}, which{true, false, true}},
		"identity becomes URI": {func(g *guard) {
			g.edit(func(a *v1alpha1.DeviceAccess) { a.Spec.ClientCertificate.Identity = v1alpha1.IdentityURI })
		}, which{true, false, true}},
		"the certificates expire": {func(g *guard) { g.w.wait(48 * time.Hour) }, which{true, false, true}},
		"the proxy gets another address": {func(g *guard) {
			g.edit(func(a *v1alpha1.DeviceAccess) { a.Spec.TrustedProxy.Addresses = []string{"10.2.0.0/16"} })
		}, which{true, true, false}},
		"the authority is removed": {func(g *guard) {
			g.edit(func(a *v1alpha1.DeviceAccess) { a.Spec.TrustedProxy.Authorities = []string{"other"} })
		}, which{true, true, false}},
		"the selector no longer matches": {func(g *guard) {
			g.edit(func(a *v1alpha1.DeviceAccess) { a.Spec.TargetSelector.MatchLabels["site"] = "lab" })
		}, which{}},
		"the label of the target changes": {func(g *guard) { g.w.editTarget(func(t *v1alpha1.Target) { t.Labels["site"] = "lab" }); g.sync() }, which{}},
		"the DeviceAccess is deleted":     {func(g *guard) { g.remove(&v1alpha1.DeviceAccess{ObjectMeta: metav1.ObjectMeta{Name: "factory"}}) }, which{}},
		"the DeviceAccess is being deleted": {func(g *guard) {
			g.edit(func(a *v1alpha1.DeviceAccess) { a.Finalizers = []string{"example.com/wait"} })
			g.remove(&v1alpha1.DeviceAccess{ObjectMeta: metav1.ObjectMeta{Name: "factory"}})
		}, which{}},
		"the target is deleted": {func(g *guard) { g.remove(&v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: "dev-0"}}) }, which{}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuard(t)
			accepted := func() which {
				return which{g.ask("dev-0", g.gateway) == nil, g.ask("dev-0", g.certificate) == nil, g.ask("dev-0", g.proxy) == nil}
			}
			if before := accepted(); before != (which{true, true, true}) {
				t.Fatalf("before: %+v", before)
			}
			tc.revoke(g)
			if after := accepted(); after != tc.left {
				t.Errorf("accepted %+v, want %+v", after, tc.left)
			}
		})
	}
}

func (g *guard) remove(o client.Object) {
	g.w.t.Helper()
	o.SetNamespace(fleetNamespace)
	if err := g.w.server.Delete(context.Background(), o); err != nil {
		g.w.t.Fatal(err)
	}
	g.sync()
}

// Secret and DeviceAccess may be applied in any order.
func TestSecretAppliedAfterTheDeviceAccess(t *testing.T) {
	g := newGuard(t, func(a *v1alpha1.DeviceAccess) { a.Spec.GatewayToken.SecretName = "later" })
	if err := g.ask("dev-0", deviceapi.Credentials{GatewayToken: "late"}); !errors.Is(err, deviceapi.ErrUnauthorized) {
		t.Fatalf("before: %v", err)
	}
	if err := g.w.server.Create(context.Background(), &corev1.Secret{ObjectMeta: built("later"), Type: TokenSecretType, Data: map[string][]byte{"t": []byte("late")}}); err != nil {
		t.Fatal(err)
	}
	g.sync()
	if err := g.ask("dev-0", deviceapi.Credentials{GatewayToken: "late"}); err != nil {
		t.Errorf("after: %v", err)
	}
}

// Of two targets with one controllerID the older one is served, and its labels decide.
func TestDuplicateControllerIDs(t *testing.T) {
	g := newGuard(t)
	for name, site := range map[string]string{"a-newer": "factory", "z-older": "lab"} {
		duplicate := aTarget(name)
		duplicate.Spec.ControllerID, duplicate.Labels = "serial-1", map[string]string{"site": site}
		duplicate.CreationTimestamp = metav1.NewTime(rolloutStart)
		if name == "z-older" {
			duplicate.CreationTimestamp = metav1.NewTime(rolloutStart.Add(-time.Hour))
		}
		if err := g.w.server.Create(context.Background(), duplicate); err != nil {
			t.Fatal(err)
		}
	}
	g.sync()
	if err := g.ask("serial-1", g.gateway); !errors.Is(err, deviceapi.ErrUnauthorized) {
		t.Errorf("the answer is %v, want refused: the older target is of another site", err)
	}
}

// Two targets may share one target token; each device then can act as the other, and a gateway
// only for those that are selected.
func TestOneTokenInTwoTargets(t *testing.T) {
	g := newGuard(t)
	for _, id := range []string{"dev-0", "dev-1"} {
		if err := g.ask(id, deviceapi.Credentials{TargetToken: "let-me-in"}); err != nil {
			t.Errorf("%s: %v", id, err)
		}
	}
	g.editSecret("gateway", func(s *corev1.Secret) { s.Data["shared"] = []byte("let-me-in") })
	if err := g.ask("dev-1", deviceapi.Credentials{GatewayToken: "let-me-in"}); !errors.Is(err, deviceapi.ErrUnauthorized) {
		t.Errorf("as a gateway token for a target that is not selected: %v", err)
	}
}

func TestRegistration(t *testing.T) {
	for name, tc := range map[string]struct {
		id     string
		target string
		has    string // spec.controllerID
	}{
		"an id that is a name":   {"new-1", "new-1", ""},
		"an id that is no name":  {"NEW-1", "new-1-", "NEW-1"},
		"an id with a used name": {"dev-5", "dev-5-", "dev-5"},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuard(t, registers)
			taken := aTarget("dev-5")
			taken.Spec.ControllerID = "serial-5"
			if err := g.w.server.Create(context.Background(), taken); err != nil {
				t.Fatal(err)
			}
			g.sync()
			if err := g.ask(tc.id, g.gateway); err != nil {
				t.Fatalf("the first request: %v", err)
			}
			made := g.index.Device(fleetNamespace, tc.id)
			if made == nil || !strings.HasPrefix(made.Name, tc.target) || made.Spec.ControllerID != tc.has {
				t.Fatalf("the Target is %+v", made)
			}
			if made.Labels["site"] != "factory" || made.Spec.Type != "gateway-v2" || made.Annotations[v1alpha1.DeviceAccessAnnotation] != "factory" || made.Spec.TokenSecretRef != nil {
				t.Errorf("the Target is %+v", made)
			}
			if _, err := g.State(context.Background(), deviceapi.Device{Namespace: fleetNamespace, ControllerID: tc.id}, "192.0.2.7"); err != nil {
				t.Errorf("its first poll: %v", err)
			}
			if err := g.ask(tc.id, g.gateway); err != nil || g.creations != 1 {
				t.Errorf("the second request: %v, %d Targets created", err, g.creations)
			}
			if a := g.checked(); a.Status.Registered != 1 {
				t.Errorf("registered is %d", a.Status.Registered)
			}
		})
	}
}

// Certificates and proxies register only the device that they name.
func TestRegistrationByOtherCredentials(t *testing.T) {
	for name, of := range map[string]func(g *guard) deviceapi.Credentials{"certificate": func(g *guard) deviceapi.Credentials { return g.certificate }, "proxy": func(g *guard) deviceapi.Credentials { return g.proxy }} {
		t.Run(name, func(t *testing.T) {
			g := newGuard(t, registers)
			g.remove(&v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: "dev-0"}})
			if err := g.ask("new-1", of(g)); !errors.Is(err, deviceapi.ErrUnauthorized) {
				t.Errorf("another device: %v", err)
			}
			if err := g.ask("dev-0", of(g)); err != nil || g.creations != 1 {
				t.Errorf("the device: %v, %d Targets created", err, g.creations)
			}
		})
	}
}

func TestRegistrationHasBounds(t *testing.T) {
	t.Run("one creation for all requests of a device", func(t *testing.T) {
		g := newGuard(t, registers)
		var all sync.WaitGroup
		errs := make([]error, 20)
		for i := range errs {
			all.Go(func() { errs[i] = g.ask("new-1", g.gateway) })
		}
		all.Wait()
		if i := slices.IndexFunc(errs, func(err error) bool { return err != nil }); i >= 0 || g.creations != 1 {
			t.Errorf("%d Targets created, errors %v", g.creations, errs)
		}
	})
	t.Run("maxTargets", func(t *testing.T) {
		g := newGuard(t, registers)
		var all sync.WaitGroup
		for i := range 8 {
			all.Go(func() { _ = g.ask(fmt.Sprintf("new-%d", i), g.gateway) })
		}
		all.Wait()
		if g.creations != 3 {
			t.Errorf("%d Targets created, want 3", g.creations)
		}
		if err := g.ask("new-9", g.gateway); !errors.Is(err, deviceapi.ErrUnauthorized) || !strings.Contains(err.Error(), "MaxTargetsReached") {
			t.Errorf("one more device: %v", err)
		}
		a := g.checked()
		stopped := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionRegistrationStopped)
		if a.Status.Registered != 3 || stopped == nil || stopped.Reason != v1alpha1.ReasonMaxTargetsReached || !strings.Contains(stopped.Message, "spec.registration.maxTargets is 3") {
			t.Errorf("the status is %+v", a.Status)
		}
		if !meta.IsStatusConditionTrue(a.Status.Conditions, v1alpha1.ConditionReady) {
			t.Error("it is not Ready, although the registered devices are served")
		}
		g.edit(func(a *v1alpha1.DeviceAccess) { a.Spec.Registration.MaxTargets = 4 })
		if err := g.ask("new-9", g.gateway); err != nil {
			t.Errorf("after maxTargets was raised: %v", err)
		}
		g.remove(&v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: "new-9"}})
		if a := g.checked(); a.Status.Registered != 3 || meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionRegistrationStopped) != nil {
			t.Errorf("after a Target was deleted the status is %+v", a.Status)
		}
	})
	t.Run("the annotation of a Target only counts", func(t *testing.T) {
		g := newGuard(t, registers, func(a *v1alpha1.DeviceAccess) { a.Spec.Registration.MaxTargets = 2 })
		for _, id := range []string{"new-1", "new-2"} {
			if err := g.ask(id, g.gateway); err != nil {
				t.Fatal(err)
			}
		}
		annotate := func(target, access string) {
			t.Helper()
			edit(g.w, target, &v1alpha1.Target{}, func(t *v1alpha1.Target) {
				t.Annotations = map[string]string{v1alpha1.DeviceAccessAnnotation: access}
			})
			g.sync()
		}
		annotate("new-1", "another")
		if a := g.checked(); a.Status.Registered != 1 {
			t.Errorf("after a change of the annotation %d targets are registered, want 1", a.Status.Registered)
		}
		if err := g.ask("new-1", g.gateway); err != nil {
			t.Errorf("the device of the changed Target: %v", err)
		}
		annotate("dev-1", "factory") // not selected, and not registered
		if a := g.checked(); a.Status.Registered != 2 {
			t.Errorf("with one more annotation %d targets are registered, want 2", a.Status.Registered)
		}
		if err := g.ask("dev-1", g.gateway); !errors.Is(err, deviceapi.ErrUnauthorized) {
			t.Errorf("the device of a Target that is not selected: %v", err)
		}
		if err := g.ask("new-3", g.gateway); !errors.Is(err, deviceapi.ErrUnauthorized) || !strings.Contains(err.Error(), "MaxTargetsReached") {
			t.Errorf("one more device: %v", err)
		}
	})
	t.Run("rate", func(t *testing.T) {
		g := newGuard(t, registers, func(a *v1alpha1.DeviceAccess) { a.Spec.Registration.MaxTargets = 1000 })
		g.registrations.limits.rate.SetBurst(2)
		for i := range 2 {
			if err := g.ask(fmt.Sprintf("new-%d", i), g.gateway); err != nil {
				t.Fatal(err)
			}
		}
		if err := g.ask("new-2", g.gateway); !isUnavailable(err) {
			t.Errorf("beyond the rate the answer is %v, want unavailable", err)
		}
		g.w.wait(time.Second)
		if err := g.ask("new-2", g.gateway); err != nil {
			t.Errorf("a second later: %v", err)
		}
	})
}

// The API server, a quota or a policy may refuse a Target. The object says so, and the next success
// ends it.
func TestRefusedRegistrationIsShown(t *testing.T) {
	g := newGuard(t, registers)
	g.refuseCreate = func(t *v1alpha1.Target) error {
		return apierrors.NewForbidden(schema.GroupResource{Group: "goshawk.dev", Resource: "targets"}, t.Name, errors.New("exceeded quota: targets "+strings.Repeat("x", 40_000)))
	}
	if err := g.ask("new-1", g.gateway); !isUnavailable(err) {
		t.Fatalf("the answer is %v, want unavailable", err)
	}
	stopped := meta.FindStatusCondition(g.checked().Status.Conditions, v1alpha1.ConditionRegistrationStopped)
	if stopped == nil || stopped.Reason != v1alpha1.ReasonRegistrationFailed || !strings.Contains(stopped.Message, "exceeded quota") || !strings.Contains(stopped.Message, `"new-1"`) {
		t.Errorf("the condition is %+v", stopped)
	} else if len(stopped.Message) > maxFailure+len("…") {
		t.Errorf("the message has %d bytes; the API server refuses a long one", len(stopped.Message))
	}
	g.refuseCreate = nil
	if err := g.ask("new-1", g.gateway); err != nil {
		t.Fatalf("without the quota: %v", err)
	}
	if c := meta.FindStatusCondition(g.checked().Status.Conditions, v1alpha1.ConditionRegistrationStopped); c != nil {
		t.Errorf("the condition stays: %+v", c)
	}
}

// Another replica may create the Target first.
func TestRegistrationByTwoReplicas(t *testing.T) {
	g := newGuard(t, registers)
	g.refuseCreate = func(t *v1alpha1.Target) error {
		g.refuseCreate = nil
		return g.w.server.Create(context.Background(), t.DeepCopy())
	}
	done := make(chan error, 1)
	go func() { done <- g.ask("new-1", g.gateway) }()
	time.Sleep(100 * time.Millisecond)
	g.sync()
	if err := <-done; err != nil || g.creations != 0 {
		t.Errorf("the answer is %v, %d more Targets created", err, g.creations)
	}
}

// The cache may not have a Target yet that was just created for another site, and a second gateway
// may ask for a device while the first one registers it. The labels of the Target decide.
func TestRegistrationOfATargetThatTheCacheLacks(t *testing.T) {
	g := newGuard(t, registers)
	present := aTarget("new-1")
	present.Labels = map[string]string{"site": "lab"}
	if err := g.w.server.Create(context.Background(), present); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- g.ask("new-1", g.gateway) }()
	time.Sleep(100 * time.Millisecond)
	g.sync()
	if err := <-done; !errors.Is(err, deviceapi.ErrUnauthorized) || g.creations != 0 {
		t.Errorf("the answer is %v, %d Targets created; want refused", err, g.creations)
	}
}

func TestConfigurationErrorsAreInTheStatus(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(g *guard)
		reason string
		says   []string
	}{
		"nothing wrong":            {func(*guard) {}, "", nil},
		"no Secret":                {func(g *guard) { g.remove(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "gateway"}}) }, v1alpha1.ReasonSecretNotFound, []string{"Secret gateway in namespace fleet (spec.gatewayToken.secretName) does not exist"}},
		"a Secret of another type": {func(g *guard) { g.editSecret("gateway", func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }) }, v1alpha1.ReasonSecretWrongType, []string{"is not of type goshawk.dev/device-tokens"}},
		"a Secret of another namespace": {func(g *guard) {
			g.remove(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "gateway"}})
			other := tokens("gateway", TokenSecretType)
			other.Namespace = "elsewhere"
			if err := g.w.server.Create(context.Background(), other); err != nil {
				g.w.t.Fatal(err)
			}
		}, v1alpha1.ReasonSecretNotFound, []string{"create it in this namespace"}},
		"an empty token":    {func(g *guard) { g.editSecret("gateway", func(s *corev1.Secret) { s.Data["old"] = nil }) }, v1alpha1.ReasonTokenEmpty, []string{`key "old"`}},
		"a CA that is none": {func(g *guard) { g.editSecret("ca", func(s *corev1.Secret) { s.Data["ca.crt"] = []byte("x") }) }, v1alpha1.ReasonCAInvalid, []string{"spec.clientCertificate.caSecretRef"}},
		"no key of the CA": {func(g *guard) {
			g.edit(func(a *v1alpha1.DeviceAccess) { a.Spec.ClientCertificate.CASecretRef.Key = "tls.crt" })
		}, v1alpha1.ReasonSecretKeyMissing, []string{`"tls.crt"`}},
		"an expired CA": {func(g *guard) { g.w.wait(48 * time.Hour) }, v1alpha1.ReasonCAExpired, []string{"CN=fleet"}},
		"a broken pattern": {func(g *guard) {
			g.edit(func(a *v1alpha1.DeviceAccess) { registers(a); a.Spec.Registration.ControllerIDPattern = "(" })
		}, v1alpha1.ReasonInvalidSpec, []string{"spec.registration.controllerIDPattern"}},
		"two errors": {func(g *guard) {
			g.remove(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "gateway"}})
			g.remove(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "ca"}})
		}, v1alpha1.ReasonSecretNotFound, []string{"Secret gateway", "Secret ca"}},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuard(t)
			before := g.checked()
			if !meta.IsStatusConditionTrue(before.Status.Conditions, v1alpha1.ConditionReady) || before.Status.ObservedGeneration != 1 {
				t.Fatalf("at first the status is %+v", before.Status)
			}
			tc.change(g)
			a := g.checked()
			ready, stalled := meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionReady), meta.FindStatusCondition(a.Status.Conditions, v1alpha1.ConditionStalled)
			if tc.reason == "" {
				if ready.Status != metav1.ConditionTrue || stalled != nil || a.ResourceVersion != before.ResourceVersion {
					t.Errorf("the status is %+v, written again %v", a.Status, a.ResourceVersion != before.ResourceVersion)
				}
				return
			}
			if ready.Status != metav1.ConditionFalse || ready.Reason != tc.reason || stalled == nil || stalled.Status != metav1.ConditionTrue || a.Status.ObservedGeneration != a.Generation {
				t.Fatalf("the status is %+v, want %s", a.Status, tc.reason)
			}
			for _, words := range tc.says {
				if !strings.Contains(ready.Message, words) {
					t.Errorf("the message %q lacks %q", ready.Message, words)
				}
			}
		})
	}
}

// A change of a DeviceAccess, of its Secrets or of its targets puts it into the queue, and nothing
// else does.
func TestChangesThatConcernAStatus(t *testing.T) {
	g := newGuard(t, registers)
	var concerned atomic.Int64
	g.accesses.changed = func(key types.NamespacedName) {
		if key == factoryKey {
			concerned.Add(1)
		}
	}
	for _, step := range []struct {
		name   string
		change func()
		want   bool
	}{
		{"a Secret of it", func() { g.editSecret("gateway", func(s *corev1.Secret) { s.Data["x"] = []byte("y") }) }, true},
		{"another Secret", func() {
			g.accesses.setSecret(types.NamespacedName{Namespace: fleetNamespace, Name: "other"}, tokens("other", TokenSecretType))
		}, false},
		{"a registered target", func() { _ = g.ask("new-1", g.gateway) }, true},
		{"another target", func() { g.accesses.count(nil, aTarget("dev-8")) }, false},
	} {
		concerned.Store(0)
		step.change()
		if (concerned.Load() > 0) != step.want {
			t.Errorf("%s: concerned %d times", step.name, concerned.Load())
		}
	}
}

// Refusals of all kinds take about the same time and the same memory, and so does their answer.
func TestRefusalsTakeTheSameTime(t *testing.T) {
	g := newGuard(t)
	for kind, questions := range refusedQuestions(g) {
		t.Run(kind, func(t *testing.T) { wantSameTime(t, g, questions) })
	}
}

func wantSameTime(t *testing.T, g *guard, questions []question) {
	t.Helper()
	timing.Check(t, func() string { return compareTimes(t, g, questions) })
}

// compareTimes returns how long each question takes, or "" if all take about the same time.
func compareTimes(t *testing.T, g *guard, questions []question) (differences string) {
	t.Helper()
	best := make([]time.Duration, len(questions))
	for range 20 {
		for i, q := range questions {
			started := time.Now()
			for range 200 {
				if err := g.ask(q.device, q.c); !errors.Is(err, deviceapi.ErrUnauthorized) {
					t.Fatalf("%s: the answer is %v", q.name, err)
				}
			}
			if took := time.Since(started) / 200; best[i] == 0 || took < best[i] {
				best[i] = took
			}
		}
	}
	fastest, slowest := slices.Min(best), slices.Max(best)
	if slowest > 2*fastest+2*time.Microsecond {
		for i, q := range questions {
			differences += fmt.Sprintf("%s takes %s; ", q.name, best[i])
		}
	}
	return differences
}

type question struct {
	name, device string
	c            deviceapi.Credentials
}

// refusedQuestions are requests that are refused, for different reasons. The chain of a client
// certificate has to be verified, so requests with one are compared with each other.
func refusedQuestions(g *guard) map[string][]question {
	ca, key := certify(g.w.t, "other", nil, nil)
	foreign, _ := certify(g.w.t, "dev-0", ca, key)
	byForeign := deviceapi.Credentials{Certificates: []*x509.Certificate{foreign}}
	return map[string][]question{
		"tokens and headers": {
			{"unknown device", "dev-9", deviceapi.Credentials{GatewayToken: "gate-9"}},
			{"wrong gateway token", "dev-0", deviceapi.Credentials{GatewayToken: "gate-9"}},
			{"foreign gateway token", "dev-1", g.gateway},
			{"gateway token for an unknown device", "dev-9", g.gateway},
			{"wrong target token", "dev-0", deviceapi.Credentials{TargetToken: "let-me-on"}},
			{"target token for an unknown device", "dev-9", deviceapi.Credentials{TargetToken: "let-me-in"}},
			{"headers for another device", "dev-1", g.proxy},
			{"headers for an unknown device", "dev-9", g.proxy},
		},
		"certificates of an accepted CA": {
			{"certificate of another device", "dev-1", g.certificate},
			{"certificate for an unknown device", "dev-9", g.certificate},
		},
		"certificates of another CA": {
			{"certificate of another CA", "dev-0", byForeign},
			{"certificate of another CA for an unknown device", "dev-9", byForeign},
		},
	}
}

// BenchmarkRefusals shows the times of refusals side by side.
func BenchmarkRefusals(b *testing.B) {
	g := newGuard(b)
	for kind, questions := range refusedQuestions(g) {
		for _, q := range questions {
			b.Run(strings.ReplaceAll(kind+"/", " ", "-")+strings.ReplaceAll(q.name, " ", "-"), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					_ = g.ask(q.device, q.c)
				}
			})
		}
	}
}
