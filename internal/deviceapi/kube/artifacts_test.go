// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

func TestDelivery(t *testing.T) {
	t.Parallel()
	const direct, proxy = v1alpha1.DeliveryDirect, v1alpha1.DeliveryProxy
	http := v1alpha1.Download{Protocol: v1alpha1.ProtocolHTTP, URL: "http://h/a", MD5URL: "http://h/a.md5"}
	ftp := v1alpha1.Download{Protocol: v1alpha1.ProtocolFTP, URL: "ftp://h/a"}
	oci := v1alpha1.Download{Protocol: v1alpha1.ProtocolOCI, URL: "oci://h/a@sha256:0a", PullSecretRef: &v1alpha1.PullSecretReference{Name: "registry"}}
	for name, tt := range map[string]struct {
		module, flag v1alpha1.Delivery
		downloads    []v1alpha1.Download
		isProxied    bool
		urls         string
	}{
		"nothing is set":                           {downloads: []v1alpha1.Download{http}, urls: "http://h/a"},
		"the flag is Direct":                       {flag: direct, downloads: []v1alpha1.Download{http}, urls: "http://h/a"},
		"the flag is Proxy":                        {flag: proxy, downloads: []v1alpha1.Download{http}, isProxied: true, urls: "http://h/a"},
		"the module is Proxy":                      {module: proxy, flag: direct, downloads: []v1alpha1.Download{http}, isProxied: true, urls: "http://h/a"},
		"the module is Direct, the flag is Proxy":  {module: direct, flag: proxy, downloads: []v1alpha1.Download{http}, urls: "http://h/a"},
		"Direct: devices get no URL of a registry": {module: direct, downloads: []v1alpha1.Download{oci, http, ftp}, urls: "http://h/a ftp://h/a"},
		"Proxy: Goshawk gets no URL of FTP":        {module: proxy, downloads: []v1alpha1.Download{oci, ftp, http}, isProxied: true, urls: "oci://h/a@sha256:0a http://h/a"},
		"only FTP, the flag is Proxy":              {flag: proxy, downloads: []v1alpha1.Download{ftp}, urls: "ftp://h/a"},
		"only OCI, the flag is Direct":             {flag: direct, downloads: []v1alpha1.Download{oci}, isProxied: true, urls: "oci://h/a@sha256:0a"},
		"only OCI, nothing is set":                 {downloads: []v1alpha1.Download{oci}, isProxied: true, urls: "oci://h/a@sha256:0a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := &Backend{options: Options{Delivery: tt.flag}}
			m := b.module(&v1alpha1.SoftwareModule{Spec: v1alpha1.SoftwareModuleSpec{Delivery: tt.module, Artifacts: []v1alpha1.Artifact{{FileName: "a", Downloads: tt.downloads}}}})
			var urls []string
			for _, d := range m.Artifacts[0].Downloads {
				urls = append(urls, d.URL)
				if (d.PullSecret == "registry") != strings.HasPrefix(d.URL, "oci") {
					t.Errorf("%s has the pull Secret %q", d.URL, d.PullSecret)
				}
			}
			if got := strings.Join(urls, " "); m.Artifacts[0].Proxied != tt.isProxied || got != tt.urls {
				t.Errorf("proxied %t with %q, want %t with %q", m.Artifacts[0].Proxied, got, tt.isProxied, tt.urls)
			}
		})
	}
}

// Delivery is not part of what is installed: a change of it makes no device update again.
func TestDeliveryChangesNoContent(t *testing.T) {
	w := newWorld(t, 1)
	d := w.deviceAPI(Options{})
	d.start()
	before, err := d.Artifacts(context.Background(), dev0, "linux")
	if err != nil {
		t.Fatal(err)
	}
	module := &v1alpha1.SoftwareModule{}
	if err := w.server.Get(context.Background(), client.ObjectKey{Namespace: fleetNamespace, Name: "linux"}, module); err != nil {
		t.Fatal(err)
	}
	module.Spec.Delivery = v1alpha1.DeliveryProxy
	if err := w.server.Update(context.Background(), module); err != nil {
		t.Fatal(err)
	}
	d.sync()
	after, err := d.Artifacts(context.Background(), dev0, "linux")
	if err != nil || before.Artifacts[0].Proxied || !after.Artifacts[0].Proxied {
		t.Fatalf("the artifact is proxied before: %t, after: %t, %v", before.Artifacts[0].Proxied, after.Artifacts[0].Proxied, err)
	}
	if state := d.poll(); state.DeployID != firstID {
		t.Errorf("the open action is %+v", state)
	}
}

// The owner of a module sees in an event why its file cannot be sent. Devices that ask again and
// again cause one event a minute.
func TestArtifactFailedIsAnEvent(t *testing.T) {
	w := newWorld(t, 2)
	d := w.deviceAPI(Options{})
	d.start()
	fail := func(device deviceapi.Device, module string) {
		d.ArtifactFailed(context.Background(), device, module, "rootfs.swu", "https://h/a: it returns 404 Not\nFound "+strings.Repeat("x", 2000))
	}
	recorded := func() (all []string) {
		for {
			select {
			case e := <-d.events.Events:
				if strings.Contains(e, "ArtifactFailed") {
					all = append(all, e)
				}
			default:
				return all
			}
		}
	}
	fail(dev0, "other")                                                                 // not a module of the device
	fail(deviceapi.Device{Namespace: fleetNamespace, ControllerID: "unknown"}, "linux") // not a device
	if got := recorded(); len(got) != 0 {
		t.Errorf("events without a cause: %q", got)
	}
	for range 10 {
		fail(dev0, "linux")
	}
	got := recorded()
	if len(got) != 1 || !strings.Contains(got[0], "Warning ArtifactFailed artifact rootfs.swu cannot be sent to devices: https://h/a: it returns 404 Not") ||
		strings.Contains(got[0], "\n") || len(got[0]) > 1100 {
		t.Errorf("the events are %q", got)
	}
	w.mu.Lock()
	w.now = w.now.Add(time.Minute)
	w.mu.Unlock()
	fail(dev0, "linux")
	if got := recorded(); len(got) != 1 {
		t.Errorf("a minute later: %q", got)
	}
}

// The memory for it is bounded, however many modules fail.
func TestNotesAreBounded(t *testing.T) {
	t.Parallel()
	var n notes
	now := time.Now()
	for i := range 3 * maxNotes {
		if !n.isDue(client.ObjectKey{Name: fmt.Sprint(i)}, now) {
			t.Fatal("the first note of a module is not due")
		}
	}
	if len(n.last) > maxNotes {
		t.Error(cmp.Diff(maxNotes, len(n.last)))
	}
}
