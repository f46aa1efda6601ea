// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"context"
	"fmt"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/inventory"
)

// Inventory takes what the device reports about one of its features. A change is written soon
// after, together with what the device reports in between, so that no report about an action waits
// for it.
func (b *Backend) Inventory(ctx context.Context, d deviceapi.Device, reported deviceapi.Inventory) error {
	t, err := b.find(d)
	if err != nil {
		return err
	}
	if reported.Feature.ID == "" && (!reported.ReplacesAll || reported.Installed != nil || reported.Context != nil) {
		return deviceapi.BadRequest{Reason: "the report has no feature: name it, as in features/SoftwareUpdatable"}
	}
	if err := b.inventories.add(t, inventory.Report{
		Feature: v1alpha1.InventoryFeature{
			ID: reported.Feature.ID, SoftwareModuleType: reported.Feature.SoftwareModuleType, Definition: reported.Feature.Definition,
			LastOperation: operationOf(reported.Feature.LastOperation), LastFailedOperation: operationOf(reported.Feature.LastFailedOperation),
		},
		Installed: softwareOf(reported.Installed), Context: softwareOf(reported.Context), Edits: editsOf(reported.Edits), Removed: reported.Removed, ReplacesAll: reported.ReplacesAll,
	}); err != nil {
		return err
	}
	if eligibility.AwaitsFeatures(t) {
		b.featuresChanged(d)
	}
	if !b.options.Presence && b.watches.has(d) && mustRecordContact(t, b.now()) { // with an external broker, this is the first sign of the device
		_ = b.writeContact(ctx, client.ObjectKeyFromObject(t), "") // logged; the next report records it
	}
	return nil
}

// Features returns the features that the device has reported. Of operations they have only what the
// caches keep.
func (b *Backend) Features(_ context.Context, d deviceapi.Device) ([]deviceapi.Feature, error) {
	t, err := b.find(d)
	if err != nil {
		return nil, err
	}
	var features []deviceapi.Feature
	for _, f := range b.inventories.features(t) {
		features = append(features, deviceapi.Feature{
			ID: f.ID, SoftwareModuleType: f.SoftwareModuleType, Definition: f.Definition,
			LastOperation: reportedOperation(f.LastOperation), LastFailedOperation: reportedOperation(f.LastFailedOperation),
		})
	}
	return features, nil
}

// Reporters returns the devices that have reported features.
func (b *Backend) Reporters() []deviceapi.Device {
	var devices []deviceapi.Device
	for _, t := range b.index.AllTargets() {
		if len(b.inventories.features(t)) > 0 {
			devices = append(devices, deviceOf(t))
		}
	}
	return devices
}

// noteSoftware takes the software in the attributes of a device.
func (b *Backend) noteSoftware(t *v1alpha1.Target, attributes map[string]v1alpha1.AttributeValue) error {
	if b.options.InventoryPrefix == "" {
		return nil
	}
	entries := inventory.FromAttributes(b.options.InventoryPrefix, attributes)
	if len(entries) == 0 && !b.inventories.has(client.ObjectKeyFromObject(t)) && len(b.index.Inventory(t).Contents().Installed) == 0 {
		return nil
	}
	return b.inventories.add(t, inventory.Report{Installed: entries})
}

func operationOf(o *deviceapi.Operation) *v1alpha1.InventoryOperation {
	if o == nil {
		return nil
	}
	return &v1alpha1.InventoryOperation{
		CorrelationID: o.CorrelationID, Status: o.Status, Message: o.Message, StatusCode: o.StatusCode, Progress: o.Progress, SoftwareModule: o.Module, Software: softwareOf(o.Software),
	}
}

func reportedOperation(o *v1alpha1.InventoryOperation) *deviceapi.Operation {
	if o == nil {
		return nil
	}
	r := &deviceapi.Operation{CorrelationID: o.CorrelationID, Status: o.Status, Message: o.Message, StatusCode: o.StatusCode, Progress: o.Progress, Module: o.SoftwareModule}
	for _, s := range o.Software {
		r.Software = append(r.Software, deviceapi.Software{Group: s.Group, Name: s.Name, Version: s.Version, Type: s.Type})
	}
	return r
}

// softwareOf keeps the difference between nil and empty.
func softwareOf(list []deviceapi.Software) []v1alpha1.InventorySoftware {
	if list == nil {
		return nil
	}
	entries := make([]v1alpha1.InventorySoftware, len(list))
	for i, s := range list {
		entries[i] = v1alpha1.InventorySoftware{Group: s.Group, Name: s.Name, Version: s.Version, Type: s.Type}
	}
	return entries
}

func editsOf(edits []deviceapi.SoftwareEdit) []inventory.Edit {
	var made []inventory.Edit
	for _, e := range edits {
		made = append(made, inventory.Edit{Context: e.Context, Removed: e.Removed, Entry: v1alpha1.InventorySoftware{Group: e.Software.Group, Name: e.Software.Name, Version: e.Software.Version, Type: e.Software.Type}})
	}
	return made
}

// tooManyFeatures is the error for a feature beyond the limit.
func tooManyFeatures() error {
	return deviceapi.TooMany{Reason: fmt.Sprintf("the device has %d features, which is the limit; remove one first", v1alpha1.MaxInventoryFeatures)}
}
