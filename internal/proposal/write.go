// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package proposal

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/internal/operation"
)

// MaxAttempts bounds how often a change is written again after a conflict: the controllers write
// the status of the object at the same time, in a busy rollout about once a second.
const MaxAttempts = 30

// Write is a write of a change that was shown to a person.
type Write struct {
	Client client.Client
	// Manager is the field manager.
	Manager string
	// Object is the object as it was read. Read reads it again, and Compute computes the change of
	// it.
	Object  client.Object
	Read    func(context.Context) error
	Compute func() (*operation.Change, error)
	// Options are further options of the patch, such as a dry run.
	Options []client.PatchOption
}

// ChangedError says that an object was changed after the change of it was shown.
type ChangedError struct {
	// Now is the change of the present object.
	Now *operation.Change
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("not applied: %s %s/%s was changed meanwhile: %s", e.Now.Kind, e.Now.Namespace, e.Now.Name, strings.Join(FieldLines(e.Now), "; "))
}

// BusyError says that an object changed at every attempt to write it.
type BusyError struct {
	Change *operation.Change
}

func (e *BusyError) Error() string {
	return fmt.Sprintf("not applied: %s %s/%s changed at every one of %d attempts", e.Change.Kind, e.Change.Namespace, e.Change.Name, MaxAttempts)
}

// Apply writes the change that was shown, as a merge patch that holds for the version of the object
// that was read. After a conflict it reads the object again, and writes only if the change still is
// the one that was shown. Else it returns a ChangedError, or the error of Compute.
func (w *Write) Apply(ctx context.Context, shown *operation.Change) error {
	for range MaxAttempts {
		body := shown.Patch()
		body["metadata"] = map[string]any{"resourceVersion": w.Object.GetResourceVersion()}
		data, err := json.Marshal(body)
		if err != nil {
			return err
		}
		err = w.Client.Patch(ctx, w.Object, client.RawPatch(types.MergePatchType, data), append([]client.PatchOption{client.FieldOwner(w.Manager)}, w.Options...)...)
		if !apierrors.IsConflict(err) {
			return err
		}
		if err := w.Read(ctx); err != nil {
			return err
		}
		now, err := w.Compute()
		if err != nil {
			return err
		}
		if !shown.SameFields(now) {
			return &ChangedError{Now: now}
		}
	}
	return &BusyError{Change: shown}
}
