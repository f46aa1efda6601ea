// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// manyInvalidations is the number of sets that one tenant invalidates while another one stops a
// single update.
const manyInvalidations = 400

// One tenant invalidates hundreds of sets at once. The stop of another tenant is carried out
// without delay, and the record of the first is written in batches.
func TestManyInvalidationsOfOneTenantDelayNoOther(t *testing.T) {
	busy, quiet := world.New(t), world.New(t)
	quiet.Set("firmware-1", "1.0")
	names := quiet.Targets("device", 1, nil)
	_, devices := quiet.Devices(devicesim.Silent, names...)
	quiet.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 0}`)
	quiet.EventuallyStarted(devices, names...)
	each := func(do func(name string) error) {
		t.Helper()
		var work errgroup.Group
		work.SetLimit(16)
		for i := range manyInvalidations {
			work.Go(func() error { return do(fmt.Sprintf("set-%04d", i)) })
		}
		if err := work.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	each(func(name string) error {
		set := &v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Namespace: busy.Namespace, Name: name},
			Spec: v1alpha1.DistributionSetSpec{Name: name, Version: "1", Type: "full-image"}}
		return busy.Client.Create(t.Context(), set)
	})
	unrecorded := func() int {
		var list v1alpha1.DistributionSetList
		if err := busy.Client.List(t.Context(), &list, client.InNamespace(busy.Namespace)); err != nil {
			t.Fatal(err)
		}
		n := 0
		for i := range list.Items {
			if !world.Says(list.Items[i].Status.Conditions, v1alpha1.ConditionInvalidated, metav1.ConditionTrue, v1alpha1.ReasonInvalidatedBySpec) {
				n++
			}
		}
		return n
	}

	started := time.Now()
	flood := make(chan struct{})
	go func() {
		defer close(flood)
		each(func(name string) error {
			set := &v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Namespace: busy.Namespace, Name: name}}
			return busy.Client.Patch(t.Context(), set, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"invalidation":{"cancellation":"None","reason":"withdrawn"}}}`)))
		})
	}()
	time.Sleep(200 * time.Millisecond)
	stopped := time.Now()
	quiet.Commit(&v1alpha1.DistributionSet{ObjectMeta: metav1.ObjectMeta{Name: "firmware-1"}}, "spec: {invalidation: {cancellation: Force}}")
	quiet.EventuallyTarget(names[0], "is canceled", func(target *v1alpha1.Target) bool { return action.Open(&target.Status) == nil })
	took := time.Since(stopped)
	left := unrecorded()
	<-flood
	busy.Eventually("the record of all invalidations", func() string {
		if n := unrecorded(); n > 0 {
			return fmt.Sprintf("%d are not recorded", n)
		}
		return ""
	})
	all := time.Since(started)
	writes := 0
	for _, w := range written.In(world.SystemNamespace) {
		if strings.Contains(w.String(), "goshawk-invalidated-"+busy.Namespace+"-") {
			writes++
		}
	}
	t.Logf("the stop took %s while %d of %d invalidations were left, which took %s and %d writes of the record", took, left, manyInvalidations, all, writes)
	if took > max(10*time.Second, all/4) {
		t.Errorf("the stop of another tenant took %s, all invalidations %s", took, all)
	}
	if writes == 0 || writes > manyInvalidations/4 {
		t.Errorf("%d invalidations took %d writes of the record", manyInvalidations, writes)
	}
}
