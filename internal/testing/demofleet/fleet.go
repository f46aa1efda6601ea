// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package demofleet

import (
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/fleet"
	"github.com/goshawk-dev/goshawk/internal/offer"
)

const (
	// Namespace has most objects of the world.
	Namespace = "fleet"
	// Lab is a second namespace, with few objects.
	Lab = "lab"
	// Vault is a namespace that the people of the world may not see.
	Vault = "vault"

	// Argo is the field manager of Argo CD.
	Argo = "argocd-controller"
	// Kubectl is the field manager of a person.
	Kubectl = "kubectl-client-side-apply"

	// Hostile is text that a device or a person has sent, and that must never become markup.
	Hostile = `"><script>alert('x')</script><img src=x onerror=alert(1)> & \u202egnp.exe`
)

// Start is when the history of the world starts. It ends some hours later, see World.Now.
var Start = time.Date(2026, 5, 31, 8, 0, 0, 0, time.UTC)

// LongName is the name of a rollout, as long as a DNS label may be.
var LongName = "quarterly-firmware-of-all-gateways-in-northern-and-eastern-sites"[:63]

// modules returns the software modules.
func modules() map[string]*v1alpha1.SoftwareModule {
	all := map[string]*v1alpha1.SoftwareModule{}
	for _, m := range []struct {
		kind, name, version string
		size                int64
		rollback            v1alpha1.RollbackSupport
	}{
		{"os", "gateway-os", "2.0.0", 188743680, v1alpha1.RollbackSupported},
		{"os", "gateway-os", "2.1.0", 190840832, v1alpha1.RollbackSupported},
		{"os", "gateway-os", "2.2.0", 191889408, v1alpha1.RollbackSupported},
		{"app", "gateway-app", "2.1.0", 9961472, ""},
		{"os", "sensor-os", "1.3.0", 25165824, ""},
		{"os", "sensor-os", "1.4.0", 25427968, ""},
		{"os", "sensor-os", "1.5.0", 25690112, ""},
		{"os", "camera-os", "2.8.0", 73400320, v1alpha1.RollbackSupported},
		{"os", "camera-os", "2.9.0", 74448896, v1alpha1.RollbackSupported},
	} {
		name := m.name + "-" + strings.ReplaceAll(strings.TrimSuffix(m.version, ".0"), ".", "-")
		file := fmt.Sprintf("%s-%s.swu", m.name, m.version)
		all[name] = &v1alpha1.SoftwareModule{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name}, Spec: v1alpha1.SoftwareModuleSpec{
			Type: m.kind, Name: m.name, Version: m.version, Vendor: "acme", Rollback: m.rollback,
			Artifacts: []v1alpha1.Artifact{{FileName: file, Size: m.size, Checksums: v1alpha1.Checksums{SHA256: fmt.Sprintf("%064x", len(all)+4711)},
				Downloads: []v1alpha1.Download{{Protocol: v1alpha1.ProtocolHTTPS, URL: "https://artifacts.example.com/" + file}}}},
		}}
	}
	all["gateway-os-2-2"].Spec.Description = Hostile
	return all
}

// distributionSet returns a set of modules.
func distributionSet(name, title, version string, modules ...string) *v1alpha1.DistributionSet {
	s := &v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name}, Spec: v1alpha1.DistributionSetSpec{Name: title, Version: version, Type: "full-image"}}
	for _, m := range modules {
		s.Spec.Modules = append(s.Spec.Modules, v1alpha1.ModuleReference{Name: m})
	}
	return s
}

// names returns prefix-001 to prefix-n.
func names(prefix string, n int) []string {
	all := make([]string, n)
	for i := range all {
		all[i] = fmt.Sprintf("%s-%03d", prefix, i+1)
	}
	return all
}

var sites = []string{"lab", "berlin", "lyon", "porto", "oslo", "gdansk", "cork", "lab"}

// target returns a target whose device has reported the set that it runs.
func target(name string, i int, set *v1alpha1.DistributionSet, hash string) *v1alpha1.Target {
	hardware, _, _ := strings.Cut(name, "-")
	seen := metav1.NewTime(Start.Add(-time.Duration(i) * time.Minute))
	t := &v1alpha1.Target{
		ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name, Labels: map[string]string{"hardware": hardware, "site": sites[i/8%len(sites)]}},
		Spec:       v1alpha1.TargetSpec{Name: fmt.Sprintf("%s %d, %s", strings.ToUpper(hardware[:1])+hardware[1:], i+1, sites[i/8%len(sites)]), Type: hardware},
		Status: v1alpha1.TargetStatus{ControllerID: name, UpdateStatus: v1alpha1.UpdateStatusInSync, LastSeen: &seen, Address: fmt.Sprintf("10.%d.%d.%d", len(hardware), i/250, i%250+1),
			NextActionID: action.FirstID(Start.Add(-24 * time.Hour)), Attributes: map[string]v1alpha1.AttributeValue{"kernel": "6.6.31", "free.data": v1alpha1.AttributeValue(fmt.Sprintf("%d MiB", 120+7*(i%40)))}},
	}
	if set != nil {
		since := metav1.NewTime(Start.Add(-30 * 24 * time.Hour))
		t.Status.Installed = &v1alpha1.InstalledSet{DistributionSet: set.Name, ContentHash: hash, Since: &since, Source: v1alpha1.InstalledByReport}
	}
	return t
}

// rollout returns a rollout to all targets of a kind of hardware.
func rollout(name, set, hardware string, edits ...func(*v1alpha1.RolloutSpec)) *v1alpha1.Rollout {
	r := &v1alpha1.Rollout{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name}, Spec: v1alpha1.RolloutSpec{
		Update:     v1alpha1.Update{DistributionSet: set, Type: v1alpha1.UpdateTypeForced},
		Selection:  v1alpha1.Selection{TargetSelector: selector("hardware", hardware)},
		Groups:     []v1alpha1.Group{{Name: "canary", Percentage: ptr.To[int32](10)}, {Name: "early", Percentage: ptr.To[int32](20)}, {Name: "rest"}},
		GroupOrder: v1alpha1.GroupOrderName, State: v1alpha1.IntentRunning,
		SuccessThreshold: ptr.To[int32](90), ErrorThreshold: ptr.To[int32](20), SuccessAction: v1alpha1.SuccessActionNextGroup, ErrorAction: v1alpha1.ErrorActionPause,
		StabilizationSeconds: ptr.To[int32](0),
	}}
	for _, edit := range edits {
		edit(&r.Spec)
	}
	return r
}

func selector(label, value string) *v1alpha1.TargetSelector {
	return &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{label: v1alpha1.LabelValue(value)}}
}

// autoAssignment returns an auto-assignment of all targets of a kind of hardware.
func autoAssignment(name, set, hardware string, state v1alpha1.AutoAssignmentIntent) *v1alpha1.AutoAssignment {
	return &v1alpha1.AutoAssignment{ObjectMeta: metav1.ObjectMeta{Namespace: Namespace, Name: name}, Spec: v1alpha1.AutoAssignmentSpec{
		Update: v1alpha1.Update{DistributionSet: set, Type: v1alpha1.UpdateTypeForced}, Selection: v1alpha1.Selection{TargetSelector: selector("hardware", hardware)}, State: state}}
}

// New returns the world at the end of its history. The watchers of its index see each change.
func New(t testing.TB, watchers ...fleet.Watcher) *World {
	t.Helper()
	w := newWorld(t, Start, watchers, inventory()...)
	w.cameras()
	w.sensors()
	w.gateways()
	w.others()
	return w
}

// inventory returns the modules, sets and targets with which the history starts.
func inventory() []client.Object {
	var objects []client.Object
	software := modules()
	for _, m := range software {
		objects = append(objects, m)
	}
	installed := map[string]*v1alpha1.DistributionSet{}
	for _, s := range []*v1alpha1.DistributionSet{
		distributionSet("gateway-2-0", "firmware-gateway", "2.0", "gateway-os-2-0"),
		distributionSet("gateway-2-1", "firmware-gateway", "2.1", "gateway-os-2-1", "gateway-app-2-1"),
		distributionSet("gateway-2-2", "firmware-gateway", "2.2", "gateway-os-2-2", "gateway-app-2-1"),
		distributionSet("sensor-1-3", "firmware-sensor", "1.3", "sensor-os-1-3"),
		distributionSet("sensor-1-4", "firmware-sensor", "1.4", "sensor-os-1-4"),
		distributionSet("sensor-1-5", "firmware-sensor", "1.5", "sensor-os-1-5"),
		distributionSet("camera-2-8", "firmware-camera", "2.8", "camera-os-2-8"),
		distributionSet("camera-2-9", "firmware-camera", "2.9", "camera-os-2-9"),
		distributionSet("camera-3-0", "firmware-camera", "3.0", "camera-os-3-0"),
	} {
		installed[s.Name] = s
		objects = append(objects, s)
	}
	hash := func(set, module string) string {
		return offer.ContentHash(installed[set], []*v1alpha1.SoftwareModule{software[module]})
	}
	for _, kind := range []struct {
		prefix, set, module string
		count               int
	}{{"gateway", "gateway-2-0", "gateway-os-2-0", 160}, {"sensor", "sensor-1-3", "sensor-os-1-3", 100}, {"camera", "camera-2-8", "camera-os-2-8", 39}} {
		for i, name := range names(kind.prefix, kind.count) {
			o := target(name, i, installed[kind.set], hash(kind.set, kind.module))
			switch {
			case kind.prefix == "gateway" && (i == 150 || i == 151): // being repaired
				o.Spec.Hold = true
			case kind.prefix == "sensor" && i >= 92 && i < 97: // has not been seen for 45 days
				silent := metav1.NewTime(Start.Add(-45 * 24 * time.Hour))
				o.Status.LastSeen = &silent
			case kind.prefix == "sensor" && i >= 97: // has never been seen
				o.Status = v1alpha1.TargetStatus{ControllerID: name, UpdateStatus: v1alpha1.UpdateStatusUnknown}
			}
			objects = append(objects, o)
		}
	}
	hostile := target("camera-"+LongName[:56], 39, installed["camera-2-8"], hash("camera-2-8", "camera-os-2-8"))
	hostile.Spec.Name, hostile.Spec.Description = Hostile, Hostile
	hostile.Status.Attributes["motto"] = v1alpha1.AttributeValue(Hostile)
	hostile.Status.Attributes["a.very.long.attribute.without.a.place.to.break."+strings.Repeat("x", 60)] = v1alpha1.AttributeValue(strings.Repeat("0123456789", 25))
	return append(objects, hostile)
}

// cameras: a rollout that is over, and one whose set has no module yet.
func (w *World) cameras() {
	w.t.Helper()
	w.Create(Argo, rollout("camera-2-9", "camera-2-9", "camera", func(s *v1alpha1.RolloutSpec) { s.Groups, s.SuccessThreshold = s.Groups[2:], ptr.To[int32](80) }))
	w.Reconcile()
	all := names("camera", 39)
	w.update(all[:36], downloads, succeeds)
	w.update(all[36:38], downloads, fails("110", "signature of camera-os-2.9.0.swu is not valid"))
	w.update(append(all[38:], "camera-"+LongName[:56]), downloads, succeeds)
	w.Create(Argo, rollout("camera-3-0", "camera-3-0", "camera"))
	w.Reconcile()
}

// sensors: a set that was invalidated while its rollout ran, and a rollout that failures paused.
func (w *World) sensors() {
	w.t.Helper()
	w.Create(Argo, rollout("sensor-1-4", "sensor-1-4", "sensor"), autoAssignment("sensors-newest", "sensor-1-4", "sensor", v1alpha1.AutoAssignmentIntentPaused))
	w.Reconcile()
	all := names("sensor", 97)
	w.update(all[:10], downloads, succeeds)
	w.update(all[10:14], downloads, succeeds)
	w.update(all[14:16], downloads, fails("28", "no space left on /data"))
	w.update(all[16:22], downloads, installs)
	w.update(all[22:24], downloads)
	Edit(w, Argo, DistributionSet("sensor-1-4"), func(s *v1alpha1.DistributionSet) {
		s.Spec.Invalidation = &v1alpha1.Invalidation{Cancellation: v1alpha1.CancellationForce, Reason: "drains the battery within two days"}
	})
	w.Pass(time.Minute)

	w.Create(Argo, rollout("sensor-1-5", "sensor-1-5", "sensor"))
	w.Reconcile()
	w.update(all[:5], downloads, succeeds)
	w.update(all[5:6], downloads, fails("", Hostile))
	w.update(all[6:7], downloads, fails("28", "no space left on /data: 1204 KiB are missing"))
	w.update(all[7:8], downloads, fails("28", "no space left on /data: 96 KiB are missing"))
}

// gateways: a rollout that is running, one that waits for approval and overlaps with it, and some
// that have not started.
func (w *World) gateways() {
	w.t.Helper()
	w.Create(Argo, autoAssignment("gateways-baseline", "gateway-2-0", "gateway", v1alpha1.AutoAssignmentIntentRunning))
	w.Pass(time.Minute)
	w.Create(Argo, rollout("gateway-2-1", "gateway-2-1", "gateway", func(s *v1alpha1.RolloutSpec) {
		s.Groups = []v1alpha1.Group{
			{Name: "canary", Percentage: ptr.To[int32](10), SuccessAction: v1alpha1.SuccessActionPause}, {Name: "early", Percentage: ptr.To[int32](20)}, {Name: "rest"},
		}
		s.ErrorBudget = &v1alpha1.ErrorBudget{Count: ptr.To[int32](12)}
	}))
	w.Pass(time.Minute)
	all := names("gateway", 160)
	w.update(all[:10], downloads, succeeds)
	w.update(all[10:16], downloads, succeeds)
	w.Pass(20 * time.Minute)
	Edit(w, Argo, Rollout("gateway-2-1"), func(r *v1alpha1.Rollout) {
		resumed := metav1.NewTime(w.Now())
		r.Spec.ResumedAt = &resumed
	})
	w.Pass(time.Minute)
	w.update(all[16:30], downloads, succeeds)
	w.update(all[30:32], downloads, fails("110", "signature of gateway-os-2.1.0.swu is not valid"))
	w.update(all[32:33], downloads, fails("", "cannot unmount /dev/mmcblk0p3: device is busy"))
	w.update(all[33:38], downloads, installs)
	w.update(all[38:42], step{event: action.Download, progress: 40})

	w.Create(Argo,
		rollout("gateway-2-2", "gateway-2-2", "gateway", func(s *v1alpha1.RolloutSpec) { s.ApprovalRequired = true }),
		rollout("gateway-2-2-holidays", "gateway-2-2", "gateway", func(s *v1alpha1.RolloutSpec) {
			startAt := metav1.NewTime(time.Date(2026, 12, 24, 2, 0, 0, 0, time.UTC))
			s.StartAt = &startAt
		}))
	w.Create(Kubectl, rollout(LongName, "gateway-2-2", "gateway", func(s *v1alpha1.RolloutSpec) { s.State = v1alpha1.IntentPlanned }))
	w.Reconcile()
}

// others: auto-assignments, and two more namespaces.
func (w *World) others() {
	w.t.Helper()
	w.Create(Argo, autoAssignment("cameras-security", "camera-2-9", "camera", v1alpha1.AutoAssignmentIntentPaused))
	for _, namespace := range []string{Lab, Vault} {
		module := modules()["gateway-os-2-0"]
		set := distributionSet(namespace+"-image", "image-"+namespace, "7", module.Name)
		bench := target(namespace+"-bench-1", 0, nil, "")
		r := rollout(namespace+"-image", set.Name, "gateway", func(s *v1alpha1.RolloutSpec) { s.Groups = nil; s.TargetSelector = nil })
		for _, o := range []client.Object{module, set, bench, r} {
			o.SetNamespace(namespace)
		}
		w.Create(Kubectl, module, set, bench, r)
	}
	w.Pass(time.Minute)
}
