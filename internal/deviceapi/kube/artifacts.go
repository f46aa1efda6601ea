// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package kube

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/eligibility"
	"github.com/goshawk-dev/goshawk/internal/offer"
	"github.com/goshawk-dev/goshawk/internal/text"
)

// module returns a SoftwareModule as the device API offers it.
func (b *Backend) module(m *v1alpha1.SoftwareModule) deviceapi.Module {
	out := deviceapi.Module{ID: m.Name, Type: m.Spec.Type, Name: m.Spec.Name, Version: m.Spec.Version}
	for i := range m.Spec.Artifacts {
		out.Artifacts = append(out.Artifacts, artifactOf(&m.Spec.Artifacts[i], cmp.Or(m.Spec.Delivery, b.options.Delivery)))
	}
	for _, e := range offer.Visible(m.Spec.Metadata) {
		out.Metadata = append(out.Metadata, deviceapi.Metadata{Key: e.Key, Value: e.Value})
	}
	return out
}

// artifactOf returns a file with the downloads that the delivery can use. A file for which it can
// use none is delivered in the other way: only the device API can fetch from OCI registries, and
// only devices by FTP and SFTP.
func artifactOf(f *v1alpha1.Artifact, delivery v1alpha1.Delivery) deviceapi.Artifact {
	file := deviceapi.Artifact{FileName: f.FileName, Size: f.Size, SHA1: f.Checksums.SHA1, MD5: f.Checksums.MD5, SHA256: f.Checksums.SHA256}
	ours, theirs := downloadsBy(f, isForProxy), downloadsBy(f, isForDevice)
	file.Proxied = len(theirs) == 0 || delivery == v1alpha1.DeliveryProxy && len(ours) > 0
	file.Downloads = theirs
	if file.Proxied {
		file.Downloads = ours
	}
	return file
}

func isForDevice(p v1alpha1.Protocol) bool { return p != v1alpha1.ProtocolOCI }

func isForProxy(p v1alpha1.Protocol) bool {
	return p == v1alpha1.ProtocolOCI || p == v1alpha1.ProtocolHTTP || p == v1alpha1.ProtocolHTTPS
}

func downloadsBy(f *v1alpha1.Artifact, usable func(v1alpha1.Protocol) bool) []deviceapi.Download {
	var downloads []deviceapi.Download
	for _, d := range f.Downloads {
		if !usable(d.Protocol) {
			continue
		}
		download := deviceapi.Download{Protocol: deviceapi.Protocol(d.Protocol), URL: d.URL, MD5URL: d.MD5URL}
		if d.PullSecretRef != nil {
			download.PullSecret = d.PullSecretRef.Name
		}
		downloads = append(downloads, download)
	}
	return downloads
}

// ArtifactFetched records that the device downloads an artifact of its open action. Only the first
// download is recorded.
func (b *Backend) ArtifactFetched(ctx context.Context, d deviceapi.Device, moduleID string) error {
	s, err := b.stateOf(ctx, d)
	if err != nil {
		return err
	}
	a := action.Open(&s.target().Status)
	if a == nil || !a.State.HasStarted() || b.isDownloading(s, a) || !hasModule(s.world.Set(a.DistributionSet), moduleID) {
		return nil
	}
	return b.bufferReport(ctx, s, a, action.Report{ID: a.ID, Event: action.Download})
}

// isDownloading reports whether the device has started to download for the action.
func (b *Backend) isDownloading(s deviceState, a *v1alpha1.Action) bool {
	return a.DownloadSeen || b.progress.showsDownload(s.key, a.ID)
}

func hasModule(set *eligibility.Set, name string) bool {
	return set != nil && slices.ContainsFunc(set.Modules, func(m *v1alpha1.SoftwareModule) bool { return m.Name == name })
}

// Artifacts returns a module of the open action, or of the installed set if an action installed it.
// A set that the device only reports does not count, because it may report any set.
func (b *Backend) Artifacts(ctx context.Context, d deviceapi.Device, moduleID string) (deviceapi.Module, error) {
	s, err := b.stateOf(ctx, d)
	if err != nil {
		return deviceapi.Module{}, err
	}
	m, isOpen := moduleFor(s, moduleID)
	if m == nil {
		return deviceapi.Module{}, deviceapi.ErrNotFound
	}
	found := b.module(m)
	found.Downloading = isOpen && b.isDownloading(s, action.Open(&s.target().Status))
	return found, nil
}

// moduleFor returns a module of the open action, or of the installed set. isOpen means that it is
// of the open action.
func moduleFor(s deviceState, moduleID string) (module *v1alpha1.SoftwareModule, isOpen bool) {
	status := &s.target().Status
	var names []string
	open := action.Open(status)
	if a := open; a != nil {
		names = append(names, a.DistributionSet)
	}
	if status.Installed != nil {
		names = append(names, status.Installed.DistributionSet)
	}
	for _, name := range names {
		set := s.world.Set(name)
		if set == nil || !action.Brought(status, set.ContentHash) {
			continue
		}
		for _, m := range set.Modules {
			if m.Name == moduleID {
				return m, open != nil && name == open.DistributionSet
			}
		}
	}
	return nil, false
}

// ArtifactFailed records an event of the SoftwareModule, at most once a minute for each module.
func (b *Backend) ArtifactFailed(ctx context.Context, d deviceapi.Device, moduleID, fileName, reason string) {
	s, err := b.stateOf(ctx, d)
	if err != nil {
		return
	}
	m, _ := moduleFor(s, moduleID)
	if m == nil || !b.artifactNotes.isDue(client.ObjectKeyFromObject(m), b.now()) {
		return
	}
	message := fmt.Sprintf("artifact %s cannot be sent to devices: %s", fileName, reason)
	b.events.Eventf(m, nil, "Warning", "ArtifactFailed", "Download", "%s", text.Clean(message, maxEvent))
	deviceLog.Info("An artifact cannot be sent to devices", "softwareModule", client.ObjectKeyFromObject(m), "artifact", fileName, "reason", reason)
}

const (
	// maxEvent is the limit of the API server for the note of an event.
	maxEvent = 1024
	// noteInterval is the interval between two events about the artifacts of a module, and
	// maxNotes limits how many modules are remembered for it.
	noteInterval = time.Minute
	maxNotes     = 4096
)

// notes remember when an event about a module was recorded.
type notes struct {
	mu   sync.Mutex
	last map[types.NamespacedName]time.Time
}

// isDue reports whether another event may be recorded now, and counts it.
func (n *notes) isDue(key types.NamespacedName, now time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if last, ok := n.last[key]; ok && now.Sub(last) < noteInterval {
		return false
	}
	if n.last == nil || len(n.last) >= maxNotes {
		n.last = map[types.NamespacedName]time.Time{}
	}
	n.last[key] = now
	return true
}
