// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// withoutRaces returns the logger without errors that need no action: an event that is refused
// because its namespace is being deleted. Such a line has level 1 instead.
func withoutRaces(l logr.Logger) logr.Logger {
	if l.GetSink() == nil {
		return l
	}
	return l.WithSink(&raceFilter{l.GetSink()})
}

// raceFilter is a sink before another one.
type raceFilter struct{ logr.LogSink }

func (f *raceFilter) Error(err error, message string, values ...any) {
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		if f.Enabled(1) {
			f.Info(1, message, append(values, "err", err)...)
		}
		return
	}
	f.LogSink.Error(err, message, values...)
}

func (f *raceFilter) WithName(name string) logr.LogSink {
	return &raceFilter{f.LogSink.WithName(name)}
}

func (f *raceFilter) WithValues(values ...any) logr.LogSink {
	return &raceFilter{f.LogSink.WithValues(values...)}
}
