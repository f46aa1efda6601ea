// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/testing/build"
)

// countries is a namespace with 20 targets in three countries, and a running rollout of hotfix-0 to
// the targets in Germany.
func countries() []client.Object {
	started := noon.Add(-time.Hour)
	module := objects.SoftwareModule("os-1")
	set := func(name string) *v1alpha1.DistributionSet {
		return objects.DistributionSet(name, func(s *v1alpha1.DistributionSet) {
			s.Spec.Metadata = []v1alpha1.MetadataEntry{{Key: "name", Value: name, VisibleToDevice: true}}
			build.Locked(started, offer.ContentHash, module)(s)
		})
	}
	before, hotfix := set("hotfix-0"), set("hotfix-1")
	running := objects.Rollout("hotfix-0", before.Name, func(r *v1alpha1.Rollout) { r.Spec.StartAt = &metav1.Time{Time: started} })
	all := []client.Object{module, before, hotfix, running}
	group := objects.DeploymentGroup(running, 0)
	for i := range 20 {
		name, country := fmt.Sprintf("dev-%02d", i), []string{"de", "fr", "de", "at"}[i%4]
		if country == "de" {
			build.Members(name)(group)
		}
		all = append(all, objects.Target(name, func(t *v1alpha1.Target) {
			t.Labels = map[string]string{"country": country}
			if i < 3 {
				t.Labels["ring"] = "canary"
			}
			t.Spec.Type = "gateway"
			t.Spec.TokenSecretRef = &v1alpha1.SecretKeyReference{Name: "tokens", Key: name}
			t.Status.Attributes = map[string]v1alpha1.AttributeValue{"hw": "B", "serial": v1alpha1.AttributeValue(name)}
			switch i {
			case 1:
				t.Spec.Type = "sensor"
			case 2:
				t.Spec.Hold = true
			}
		}))
	}
	build.Running(started, before.Status.ContentHash, group)(running)
	return append(all, group)
}

const manifests = "testdata/manifests/"

func TestPlan(t *testing.T) {
	for name, args := range map[string][]string{
		"base.txt":         {"-f", manifests + "base"},
		"base.markdown":    {"-f", manifests + "base", "-o", "markdown"},
		"base.json":        {"-f", manifests + "base", "-o", "json"},
		"base.yaml":        {"-f", manifests + "base", "-o", "yaml"},
		"changed.txt":      {"-f", manifests + "changed"},
		"changed.markdown": {"-f", manifests + "changed", "-o", "markdown"},
		"ends.txt":         {"-f", manifests + "ends"},
		"kustomize.txt":    {"-k", manifests + "kustomize"},
		"approval.txt":     {"-f", manifests + "base", "--require-approval"},
		"help.txt":         {"--help"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, countries()...)
			got := w.run(append([]string{"plan"}, args...)...)
			if got.code != 0 {
				t.Fatalf("exit code %d: %s", got.code, got.errOut)
			}
			golden(t, "plan/"+name, got.out)
		})
	}
}

// TestPlanOfAnExportIsThePlanOfTheCluster also shows that the export needs no Secret.
func TestPlanOfAnExportIsThePlanOfTheCluster(t *testing.T) {
	w := newWorld(t, countries()...)
	online := w.run("plan", "-f", manifests+"changed", "-o", "json")
	for name, args := range map[string][]string{"plain": {"export"}, "compressed": {"export", "--gzip"}} {
		t.Run(name, func(t *testing.T) {
			exported := w.run(args...)
			if exported.code != 0 || exported.out != w.run(args...).out {
				t.Fatalf("exit code %d, %s; or two exports differ", exported.code, exported.errOut)
			}
			file := filepath.Join(t.TempDir(), "fleet")
			if err := os.WriteFile(file, []byte(exported.out), 0o600); err != nil {
				t.Fatal(err)
			}
			offline := &world{t: t, connectErr: fmt.Errorf("no cluster"), now: noon, environment: w.environment}
			got := offline.run("plan", "-f", manifests+"changed", "--targets", file, "-o", "json")
			if got.code != 0 || got.out != online.out {
				t.Errorf("exit code %d, %s; the plan is\n%s\nwant\n%s", got.code, got.errOut, got.out, online.out)
			}
		})
	}
}

// TestExportHasTheActionsThatDecide: an action of a queued update keeps no older update from
// starting, and any other action does.
func TestExportHasTheActionsThatDecide(t *testing.T) {
	var texts []string
	for _, superseding := range []v1alpha1.Superseding{v1alpha1.SupersedingReplace, v1alpha1.SupersedingQueue} {
		all := slices.DeleteFunc(neighborhood(), func(o client.Object) bool { return o.GetName() == "stable" })
		for _, o := range all {
			if target, ok := o.(*v1alpha1.Target); ok && target.Name == "dev-1" {
				target.Status.Actions[0].Update.Superseding = superseding
			}
			if r, ok := o.(*v1alpha1.Rollout); ok && r.Name == "firmware-2-1" {
				r.Spec.Update.Superseding = superseding
			}
			if r, ok := o.(*v1alpha1.Rollout); ok && r.Name == "firmware-2-2" {
				r.Spec.State = v1alpha1.IntentStopped
			}
		}
		w := newWorld(t, all...)
		file := filepath.Join(t.TempDir(), "fleet.json")
		if err := os.WriteFile(file, []byte(w.run("export").out), 0o600); err != nil {
			t.Fatal(err)
		}
		online, offline := w.run("plan", "-f", manifests+"neighborhood"), w.run("plan", "-f", manifests+"neighborhood", "--targets", file)
		if online.code != 0 || online.out != offline.out {
			t.Errorf("%s: %s%s\nthe plan of the export is\n%s\nwant\n%s", superseding, online.errOut, offline.errOut, offline.out, online.out)
		}
		texts = append(texts, online.out)
	}
	if texts[0] == texts[1] {
		t.Errorf("the action does not matter:\n%s", texts[0])
	}
}

func TestExportOfAnEmptyNamespaceSaysSo(t *testing.T) {
	got := newWorld(t).run("export")
	if want := "namespace fleet has no object of Goshawk, so the export is empty: choose another namespace with -n\n"; got.code != 0 || got.out != "" || got.errOut != want {
		t.Errorf("code %d, output %q, errors %q; want errors %q", got.code, got.out, got.errOut, want)
	}
}

func TestExport(t *testing.T) {
	w := newWorld(t, countries()[3:6]...)
	got := w.run("export", "--attributes", "hw")
	if got.code != 0 {
		t.Fatal(got.errOut)
	}
	golden(t, "export/some.json", got.out)
	if bytes.Contains([]byte(got.out), []byte("tokens")) {
		t.Error("the export names a Secret")
	}
	golden(t, "export/help.txt", w.run("export", "--help").out)
}

func TestPlanOfManifestsThatTheServerRefuses(t *testing.T) {
	w := newWorld(t, countries()...)
	got := w.run("plan", "-f", manifests+"wrong")
	if got.code != CodeError || got.out != "" {
		t.Errorf("exit code %d, output %q", got.code, got.out)
	}
	golden(t, "plan/wrong.txt", got.errOut)
	if got := w.run("plan"); got.code != CodeUsage {
		t.Errorf("without -f: exit code %d, %s", got.code, got.errOut)
	}
}

// BenchmarkPlanOf100000ExportedTargets reads the export and plans a rollout to all targets.
func BenchmarkPlanOf100000ExportedTargets(b *testing.B) {
	var all []client.Object
	for i := range 100_000 {
		all = append(all, objects.Target(fmt.Sprintf("dev-%06d", i), func(t *v1alpha1.Target) {
			t.Labels = map[string]string{"country": "de", "site": fmt.Sprint(i % 100)}
			t.Spec.Type = "gateway"
			t.Status.Attributes = map[string]v1alpha1.AttributeValue{"hw": "B"}
			t.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: "Ready"}}
		}))
	}
	file := filepath.Join(b.TempDir(), "fleet.json")
	out, err := os.Create(file)
	if err != nil {
		b.Fatal(err)
	}
	if err := writeExport(out, all, nil); err != nil {
		b.Fatal(err)
	}
	w := &world{now: noon, connectErr: fmt.Errorf("no cluster"), environment: map[string]string{}}
	for b.Loop() {
		var printed, errOut bytes.Buffer
		o := w.options(genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &printed, ErrOut: &errOut})
		if code := Run(b.Context(), newCommand(o), &errOut, []string{"plan", "-f", manifests + "base", "--targets", file}); code != 0 {
			b.Fatal(errOut.String())
		}
	}
}
