// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package decode

import (
	"context"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/collectors"
)

// Report reports the objects that cannot be decoded: in the log, in a metric, and in events while
// Announce runs. All caches of a process share one Report, because several may contain the same
// object.
type Report struct {
	mu      sync.Mutex
	objects map[identity]client.Object
	// recorders of events by namespace. The empty namespace means all.
	recorders map[string]events.EventRecorder
}

// identity is the kind, namespace and name of an object.
type identity struct{ kind, namespace, name string }

// unreadable is the number of objects that cannot be decoded now, by kind.
var unreadable = collectors.Define(collectors.Definition{
	Name: "goshawk_unreadable_objects", Process: collectors.Every,
	Help:   "Stored objects that cannot be decoded at present, by kind. Goshawk does not change them until they are fixed.",
	Labels: []collectors.Label{{Name: "kind", Values: kindNames()}},
}).Gauges()

func init() { metrics.Registry.MustRegister(unreadable) }

// NewReport returns a report without objects.
func NewReport() *Report {
	r := &Report{objects: map[identity]client.Object{}, recorders: map[string]events.EventRecorder{}}
	for t := range kinds {
		unreadable.WithLabelValues(t.Name()).Add(0)
	}
	return r
}

// handler follows the objects of one kind.
func (r *Report) handler() toolscache.ResourceEventHandler {
	return toolscache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { r.update(o.(client.Object)) },
		UpdateFunc: func(_, o any) { r.update(o.(client.Object)) },
		DeleteFunc: func(o any) {
			if gone, ok := o.(toolscache.DeletedFinalStateUnknown); ok {
				o = gone.Obj
			}
			r.remove(o.(client.Object))
		},
	}
}

// update records an object. An object that cannot be decoded is reported when that is new, or when
// its resourceVersion and the message have changed.
func (r *Report) update(o client.Object) {
	mark := v1alpha1.UnreadableOf(o)
	if mark == nil {
		r.remove(o)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known := r.objects[identityOf(o)]
	r.objects[identityOf(o)] = o
	if known == nil {
		r.count(kindOf(o))
	} else if known.GetUID() == o.GetUID() && v1alpha1.UnreadableOf(known).Message == mark.Message {
		return
	}
	ctrl.Log.WithName("decode").Info("an object cannot be decoded and is not changed: fix the field; Goshawk then continues without a restart",
		"kind", kindOf(o), "namespace", o.GetNamespace(), "name", o.GetName(), "resourceVersion", o.GetResourceVersion(), "reason", mark.Message)
	r.announce(o)
}

// remove removes an object that was deleted or can be decoded.
func (r *Report) remove(o client.Object) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.objects[identityOf(o)] == nil {
		return
	}
	delete(r.objects, identityOf(o))
	r.count(kindOf(o))
	ctrl.Log.WithName("decode").Info("an object that could not be decoded can be decoded now, or was deleted", "kind", kindOf(o), "namespace", o.GetNamespace(), "name", o.GetName())
}

// count sets the metric of a kind.
func (r *Report) count(kind string) {
	n := 0
	for id := range r.objects {
		if id.kind == kind {
			n++
		}
	}
	unreadable.WithLabelValues(kind).Set(float64(n))
}

// announce records an event about an object, if the events of its namespace are enabled.
func (r *Report) announce(o client.Object) {
	recorder := r.recorders[o.GetNamespace()]
	if recorder == nil {
		recorder = r.recorders[""]
	}
	if recorder != nil {
		recorder.Eventf(o, nil, corev1.EventTypeWarning, "Unreadable", "Decode", "%s: Goshawk does not change this object until the field is fixed", v1alpha1.UnreadableOf(o).Message)
	}
}

// Announce records an event for each object of a namespace that cannot be decoded, until ctx ends.
// An empty namespace means all. Only the process that runs the controllers calls it.
func (r *Report) Announce(ctx context.Context, namespace string, recorder events.EventRecorder) {
	r.mu.Lock()
	r.recorders[namespace] = recorder
	for id, o := range r.objects {
		if namespace == "" || id.namespace == namespace {
			r.announce(o)
		}
	}
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.recorders[namespace] == recorder {
		delete(r.recorders, namespace)
	}
}

func identityOf(o client.Object) identity { return identity{kindOf(o), o.GetNamespace(), o.GetName()} }

// kindNames returns the kinds that are isolated, sorted.
func kindNames() []string {
	var names []string
	for t := range kinds {
		names = append(names, t.Name())
	}
	slices.Sort(names)
	return names
}

func kindOf(o runtime.Object) string { return typeOf(o).Name() }
