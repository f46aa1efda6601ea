// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
)

const (
	tokensName = "device-tokens"
	// tokensType is the type of Secret that the device API reads tokens from.
	tokensType corev1.SecretType = "goshawk.dev/device-tokens"

	hardwareLabel = "hardware"
	siteLabel     = "site"
	canarySite    = "lab"

	goodVersion = "2.1"
	badVersion  = "2.2"
)

// mix has the behaviors of the fleet: a few devices are slow, a few fail every update.
const mix = "obedient=90,slow=6,failing=4"

// fleet has the devices, and the objects that make them known to the cluster.
type fleet struct {
	namespace string
	devices   []devicesim.Device
	targets   []*v1alpha1.Target
	tokens    *corev1.Secret
	// hasMQTT means that one of five devices uses MQTT.
	hasMQTT bool
}

// newFleet returns a fleet of count devices: three gateways to two sensors. Of both, one of twenty
// is in the lab.
func newFleet(namespace string, count int, hasMQTT bool) fleet {
	f := fleet{namespace: namespace, hasMQTT: hasMQTT, tokens: &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: tokensName},
		Type:       tokensType,
		Data:       map[string][]byte{},
	}}
	gateways := count * 3 / 5
	for i := range count {
		if i < gateways {
			f.add("gateway", i)
		} else {
			f.add("sensor", i-gateways)
		}
	}
	return f
}

func (f *fleet) add(hardware string, i int) {
	name, token := fmt.Sprintf("%s-%03d", hardware, i+1), rand.Text()
	site := []string{"lyon", "porto", "turku"}[i%3]
	if i%20 == 0 {
		site = canarySite
	}
	f.tokens.Data[name] = []byte(token)
	f.targets = append(f.targets, &v1alpha1.Target{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: f.namespace, Name: name,
			Labels: map[string]string{hardwareLabel: hardware, siteLabel: site},
		},
		Spec: v1alpha1.TargetSpec{
			Type:           hardware,
			TokenSecretRef: &v1alpha1.SecretKeyReference{Name: tokensName, Key: name},
		},
	})
	var types []string
	if f.hasMQTT && i%5 == 0 {
		types = []string{"os", "app"}
	}
	f.devices = append(f.devices, devicesim.Device{
		ID: name, ModuleTypes: types, Token: token, FailCode: []string{"28", "110"}[i%2], // no space left, timed out
		Attributes: map[string]string{"hwRevision": string(rune('A' + i%2))},
	})
}

// polling returns the number of devices with DDI.
func (f *fleet) polling() int {
	n := 0
	for _, d := range f.devices {
		if len(d.ModuleTypes) == 0 {
			n++
		}
	}
	return n
}

// releases returns the modules and sets of two versions: a good one, and a bad one that is stopped.
func releases(namespace string) []client.Object {
	var objects []client.Object
	for _, version := range []string{goodVersion, badVersion} {
		os, app := module(namespace, "os", version), module(namespace, "app", version)
		objects = append(objects, os, app, &v1alpha1.DistributionSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: setName(version)},
			Spec: v1alpha1.DistributionSetSpec{
				Name: "firmware", Version: version, Type: "full-image",
				Modules:     []v1alpha1.ModuleReference{{Name: os.Name}, {Name: app.Name}},
				ModuleTypes: &v1alpha1.ModuleTypes{Mandatory: []string{"os"}, Optional: []string{"app"}},
			},
		})
	}
	return objects
}

func setName(version string) string { return "firmware-" + version }

// module returns a module with an artifact that the simulated devices never fetch.
func module(namespace, kind, version string) *v1alpha1.SoftwareModule {
	file := fmt.Sprintf("%s-%s.img", kind, version)
	sum := sha256.Sum256([]byte(file))
	return &v1alpha1.SoftwareModule{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: kind + "-" + version},
		Spec: v1alpha1.SoftwareModuleSpec{
			Type: kind, Name: "demo-" + kind, Version: version, Vendor: "acme", Rollback: v1alpha1.RollbackSupported,
			Artifacts: []v1alpha1.Artifact{{
				FileName: file, Size: 4 << 20,
				Checksums: v1alpha1.Checksums{SHA256: hex.EncodeToString(sum[:])},
				Downloads: []v1alpha1.Download{{Protocol: v1alpha1.ProtocolHTTPS, URL: "https://artifacts.example.com/" + file}},
			}},
		},
	}
}

// goodRollout returns the rollout of the good version: to the lab, a quarter of the fleet, the
// sensors, the rest.
func goodRollout(namespace string, start time.Time) *v1alpha1.Rollout {
	return newRollout(namespace, goodVersion, start, []v1alpha1.Group{
		{Name: "canary", Selection: labeled(siteLabel, canarySite)},
		{Name: "early", Percentage: ptr.To[int32](25)},
		{Name: "sensors", Selection: labeled(hardwareLabel, "sensor")},
		{Name: "rest"},
	})
}

// badRollout returns the rollout of the bad version. It has one group, which a real rollout should
// not.
func badRollout(namespace string, start time.Time) *v1alpha1.Rollout {
	return newRollout(namespace, badVersion, start, []v1alpha1.Group{{Name: "all"}})
}

// newRollout returns a rollout with a startAt. All rollouts should have it: of two rollouts with
// the same targets, it decides which one is newer.
func newRollout(namespace, version string, start time.Time, groups []v1alpha1.Group) *v1alpha1.Rollout {
	return &v1alpha1.Rollout{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: setName(version)},
		Spec: v1alpha1.RolloutSpec{
			Update:               v1alpha1.Update{DistributionSet: setName(version)},
			Groups:               groups,
			SuccessThreshold:     ptr.To[int32](80),
			ErrorThreshold:       ptr.To[int32](20),
			StabilizationSeconds: ptr.To[int32](1),
			StartAt:              ptr.To(metav1.NewTime(start)),
		},
	}
}

func labeled(key, value string) v1alpha1.Selection {
	return v1alpha1.Selection{TargetSelector: &v1alpha1.TargetSelector{MatchLabels: map[string]v1alpha1.LabelValue{key: v1alpha1.LabelValue(value)}}}
}
