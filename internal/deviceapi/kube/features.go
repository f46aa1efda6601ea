// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"errors"

	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

// Inventory stores what the device reports about one of its features.
func (b *Backend) Inventory(_ context.Context, d deviceapi.Device, _ deviceapi.Inventory) error {
	if _, err := b.find(d); err != nil {
		return err
	}
	return errors.New("inventories are not stored yet")
}

// Features returns the features that the device has reported.
func (b *Backend) Features(_ context.Context, d deviceapi.Device) ([]deviceapi.Feature, error) {
	_, err := b.find(d)
	return nil, err
}
