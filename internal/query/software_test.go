// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package query

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
)

// reported returns inventories in which the target gw-1 has software, and no other target.
func reported(software, context []v1alpha1.InventorySoftware) Inventories {
	o := &v1alpha1.TargetInventory{Status: v1alpha1.TargetInventoryStatus{Installed: software, Context: context}}
	o.Compress()
	return func(t *v1alpha1.Target) *v1alpha1.CompactInventory {
		if t.Name == "gw-1" {
			return o.Contents()
		}
		return noSoftware
	}
}

var driver = reported(
	[]v1alpha1.InventorySoftware{
		{Feature: "os", Group: "org.example", Name: "driver", Version: "1.10.0", Type: "deb"}, {Feature: "os", Name: "kernel", Version: "6.1"}, {Name: "odd", Version: "rolling"},
	},
	[]v1alpha1.InventorySoftware{{Feature: "os", Group: "system.cpu", Name: "architecture", Version: "arm64", Type: "hw-part"}})

func TestSelectionBySoftware(t *testing.T) {
	bare := &v1alpha1.Target{ObjectMeta: metav1.ObjectMeta{Name: "bare"}}
	for name, c := range map[string]struct {
		text     string
		yes, has bool // whether it matches the gateway, and the target that has reported nothing
	}{
		"a desired version is installed":                    {`target.software.exists(s, s.group == "org.example" && s.name == "driver" && s.version == "1.10.0")`, true, false},
		"another version is not":                            {`target.software.exists(s, s.name == "driver" && s.version == "1.9.0")`, false, false},
		"a version below another, by number":                {`target.software.exists(s, s.name == "driver" && semver(s.version).isLessThan(semver("1.11.0")))`, true, false},
		"a version above another, by number":                {`target.software.exists(s, s.name == "driver" && semver(s.version).isGreaterThan(semver("1.9.9")))`, true, false},
		"a version at least another":                        {`target.software.exists(s, s.name == "driver" && semver(s.version).compareTo(semver("1.10.0")) >= 0)`, true, false},
		"an equal version, without its build":               {`target.software.exists(s, semver(s.version) == semver("1.10.0+build7"))`, true, false},
		"a pre-release is lower":                            {`semver("1.10.0-rc.1").isLessThan(semver("1.10.0")) && semver("1.0.0-alpha.9").isLessThan(semver("1.0.0-alpha.10"))`, true, true},
		"the parts of a version":                            {`semver("1.20.3").major() == 1 && semver("1.20.3").minor() == 20 && semver("1.20.3").patch() == 3`, true, true},
		"a version with two numbers is no semantic version": {`target.software.exists(s, s.name == "kernel" && semver(s.version).isLessThan(semver("7.0.0")))`, false, false},
		"it is with normalization":                          {`target.software.exists(s, s.name == "kernel" && semver(s.version, true).isLessThan(semver("7.0.0")))`, true, false},
		"normalization":                                     {`semver("v01.2", true) == semver("1.2.0") && semver("3", true).major() == 3 && semver("0.0.1", true).patch() == 1 && semver("1.02.3-rc.1", true) == semver("1.2.3-rc.1")`, true, true},
		"what is a version":                                 {`isSemver("1.2.3-rc.1+b") && !isSemver("1.2") && isSemver("1.2", true) && !isSemver("rolling", true) && !isSemver("v1.2.3") && isSemver("v1.2.3", true) && !isSemver("") && !isSemver("", true) && !isSemver(" 1.2.3") && !isSemver("1.2-rc", true)`, true, true},
		"a version that is none, beside one that is":        {`target.software.exists(s, semver(s.version).isLessThan(semver("2.0.0")))`, true, false},
		"none below, with one that is no version":           {`!target.software.exists(s, isSemver(s.version) && semver(s.version).isLessThan(semver("1.0.0")))`, true, true},
		"context":                          {`target.context.exists(c, c.type == "hw-part" && c.name == "architecture" && c.version in ["arm64", "arm32"])`, true, false},
		"context is not software":          {`target.context.exists(c, c.name == "driver") || target.software.exists(s, s.name == "architecture")`, false, false},
		"by feature":                       {`target.software.filter(s, s.feature == "os").size() == 2`, true, false},
		"software without feature or type": {`target.software.exists(s, !has(s.feature) && !has(s.type) && has(s.version))`, true, false},
		"nothing was reported":             {`!has(target.software) && target.software.size() == 0`, false, true},
		"not installed, also where nothing was reported": {`!target.software.exists(s, s.name == "app")`, true, true},
		"not installed, where something was reported":    {`has(target.software) && !target.software.exists(s, s.name == "app")`, true, false},
		"the first entry":                     {`target.software[0].name == "driver"`, true, false},
		"all of a group have a type":          {`target.software.all(s, s.group != "org.example" || s.type == "deb")`, true, true},
		"exactly one":                         {`target.software.exists_one(s, s.name == "driver")`, true, false},
		"an entry of a list is in the list":   {`target.software.size() > 0 && target.software[0] in target.software && !(target.context[0] in target.software)`, true, false},
		"names as a list":                     {`"driver" in target.software.map(s, s.name)`, true, false},
		"two lists":                           {`(target.software + target.context).size() == 4 && target.software != target.context && target.software == target.software`, true, false},
		"together with labels and attributes": {`target.labels["site"] == "ulm" && target.attributes["hw"] == "B" && target.software.exists(s, s.name == "driver")`, true, false},
		"a regular expression":                {`target.software.exists(s, s.name.matches("^driv"))`, true, false},
		"software that depends on other software and hardware": {`target.software.exists(s, s.name == "driver") && target.context.exists(c, c.version == "arm64")`, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			q, err := Compile(expressionOf(c.text), driver)
			if err != nil {
				t.Fatal(err)
			}
			if q.Matches(gateway()) != c.yes || q.Matches(bare) != c.has {
				t.Errorf("%s: %t and %t", c.text, q.Matches(gateway()), q.Matches(bare))
			}
			if q.ReadsInventory() != strings.Contains(c.text, "target.") {
				t.Errorf("%s reads the inventory: %t", c.text, q.ReadsInventory())
			}
		})
	}
}

func TestInventoryIsReadOnlyIfTheExpressionUsesIt(t *testing.T) {
	for text, want := range map[string]bool{
		`target.name == "software"`: false, `target.labels["context"] == "a"`: false, `has(target.labels.software)`: false, `target.installed.contentHash == ""`: false,
		`target.hold && target.software.size() == 0`: true, `[target].exists(x, has(x.context))`: true, `has(target.software)`: true,
	} {
		calls := 0
		q, err := Compile(expressionOf(text), func(*v1alpha1.Target) *v1alpha1.CompactInventory { calls++; return noSoftware })
		if err != nil {
			t.Fatal(err)
		}
		q.Matches(gateway())
		if q.ReadsInventory() != want || (calls > 0) != want {
			t.Errorf("%s: reads the inventory: %t, %d calls", text, q.ReadsInventory(), calls)
		}
	}
	if mustCompile(t, expressionOf(`has(target.software)`)).Matches(gateway()) {
		t.Error("without inventories a target has software")
	}
	if mustCompile(t, v1alpha1.Selection{}).ReadsInventory() {
		t.Error("a selection without an expression reads the inventory")
	}
}

func TestExpressionsOverSoftwareThatAreRefused(t *testing.T) {
	for text, want := range map[string]string{
		`target.software.exists(s, target.context.exists(c, c.name == s.name))`: "it could take too long",
		`target.software.exists(s, s.vendor == "a")`:                            "undefined field 'vendor'",
		`target.software.exists(s, semver(s.version) < semver("1.0.0"))`:        "no matching overload",
		`target.software["app"] == "1"`:                                         "no matching overload",
		`semver(1) == semver("1.0.0")`:                                          "no matching overload",
	} {
		if _, err := Compile(expressionOf(text), nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func BenchmarkMatchesSoftware(b *testing.B) {
	list := make([]v1alpha1.InventorySoftware, 200)
	for i := range list {
		list[i] = v1alpha1.InventorySoftware{Feature: "os", Group: "org.example", Name: fmt.Sprint("lib", i), Version: "1.2.3", Type: "deb"}
	}
	q, err := Compile(expressionOf(`target.software.exists(s, s.name == "lib199" && semver(s.version).isLessThan(semver("2.0.0")))`), reported(list, nil))
	if err != nil || !q.Matches(gateway()) {
		b.Fatal(err)
	}
	target := gateway()
	b.ReportAllocs()
	for b.Loop() {
		q.Matches(target)
	}
}
