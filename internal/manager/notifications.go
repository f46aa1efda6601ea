// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/logging"
	"github.com/goshawk-dev/goshawk/internal/notification"
	"github.com/goshawk-dev/goshawk/internal/notification/outbox"
)

// addNotifications makes the outbox of a process that runs the controllers. The parts follow their
// caches with it, and the leader runs it.
func (p *process) addNotifications(front manager.Manager) error {
	if p.o.NotificationsSecret.Name == "" || !p.o.Controllers {
		return nil
	}
	// A client without a mapper asks the API server for resources, and waits for its answer.
	mapper := meta.NewDefaultRESTMapper([]schema.GroupVersion{corev1.SchemeGroupVersion, v1alpha1.GroupVersion})
	for _, kind := range []string{"Secret", "ConfigMap"} {
		mapper.Add(corev1.SchemeGroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	for _, kind := range []string{notification.KindRollout, notification.KindDistributionSet, notification.KindAutoAssignment} {
		mapper.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeNamespace)
	}
	c, err := logging.NewClient(p.o.NewClient)(p.config, client.Options{Scheme: Scheme(), Mapper: mapper})
	if err != nil {
		return fmt.Errorf("make the client for notifications: %w", err)
	}
	p.outbox, err = outbox.New(outbox.Options{
		Secret: p.o.NotificationsSecret, Namespace: p.o.Namespace, Client: c, Events: front.GetEventRecorder("goshawk"),
		Log: ctrl.Log.WithName("notifications"), Registerer: metrics.Registry, Now: p.o.Now, Timing: outbox.DefaultTiming(),
	})
	return err
}
