// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ditto

import (
	"fmt"
	"slices"
	"strings"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/action"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
	"github.com/goshawk-dev/goshawk/internal/ditto/wire"
	"github.com/goshawk-dev/goshawk/internal/inventory"
)

// work is how an action is divided among the features of its device.
type work struct {
	id int32
	// isRemoval means that software is removed, and not installed.
	isRemoval bool
	// remove are the entries of a removal, also those that no feature serves any more.
	remove []deviceapi.Software
	// count is the number of modules, or of entries of a removal.
	count int
	parts []part
	// isAcknowledged means that the acknowledgement of the action is stored, and isClosed that the
	// action is closed.
	isAcknowledged, isClosed bool
}

// part is what one feature has to do.
type part struct {
	feature string
	modules []deviceapi.Module
	remove  []deviceapi.Software
	// isAcknowledged means that the device has responded to the command of the part, or reported
	// about it.
	isAcknowledged bool
}

// names returns the names of the modules, or of the entries of a removal, in reports.
func (p part) names() []string {
	var names []string
	for _, m := range p.modules {
		names = append(names, moduleName(m))
	}
	for _, r := range p.remove {
		names = append(names, softwareName(r))
	}
	return names
}

func moduleName(m deviceapi.Module) string {
	return wire.ModuleID{Name: m.Name, Version: m.Version}.String()
}

func softwareName(s deviceapi.Software) string {
	return action.SoftwareName(v1alpha1.SoftwareReference{Group: s.Group, Name: s.Name, Version: s.Version})
}

// divide divides an action among features by the type of its modules. lack is a sentence that says
// which type no feature serves, or "".
func divide(d deviceapi.Deployment, features []feature) (w *work, lack string) {
	w = &work{id: d.ID, isRemoval: len(d.Remove) > 0, remove: d.Remove, count: max(len(d.Modules)+len(d.Remove), 1), isAcknowledged: d.Acknowledged, isClosed: v1alpha1.ActionState(d.History.State).IsClosed()}
	for _, m := range d.Modules {
		switch at := w.partFor(m.Type, false, features); {
		case at >= 0:
			w.parts[at].modules = append(w.parts[at].modules, m)
		case lack == "":
			lack = fmt.Sprintf("no feature of the device serves software modules of type %s (%s); %s", m.Type, moduleName(m), servedBy(features))
		}
	}
	for _, r := range d.Remove {
		switch at := w.partFor(r.Type, true, features); {
		case at >= 0:
			w.parts[at].remove = append(w.parts[at].remove, r)
		case lack == "":
			lack = fmt.Sprintf("no feature of the device removes software of type %q (%s:%s:%s); set its type in update.remove to one that a feature serves; %s",
				r.Type, r.Group, r.Name, r.Version, servedBy(features))
		}
	}
	if len(d.Modules)+len(d.Remove) == 0 && w.partFor("", true, features) < 0 {
		lack = "the update has no software modules, and the device has no single feature that could take it; " + servedBy(features)
	}
	return w, lack
}

// partFor returns the index of the part for the feature that serves a type, or -1. Without such a
// feature, software of any type is removed by the only feature of the device, if isLoose is set.
func (w *work) partFor(moduleType string, isLoose bool, features []feature) int {
	id, found := "", false
	supported := 0
	for _, f := range features {
		if inventory.IsSupported(f.definition) && f.moduleType != "" {
			if supported++; isLoose && !found {
				id = f.id
			}
		}
		if f.serves(moduleType) && !found {
			id, found = f.id, true
		}
	}
	if !found && (!isLoose || supported != 1) {
		return -1
	}
	if at := slices.IndexFunc(w.parts, func(p part) bool { return p.feature == id }); at >= 0 {
		return at
	}
	w.parts = append(w.parts, part{feature: id})
	return len(w.parts) - 1
}

// servedBy returns a sentence about the features of a device.
func servedBy(features []feature) string {
	var served, others []string
	for _, f := range features {
		switch {
		case !inventory.IsSupported(f.definition):
			others = append(others, fmt.Sprintf("feature %s has the definition %s, which is not supported", f.id, f.definition))
		case f.moduleType == "":
			others = append(others, fmt.Sprintf("feature %s has no softwareModuleType", f.id))
		default:
			served = append(served, f.moduleType)
		}
	}
	sentence := "its features serve " + strings.Join(served, ", ")
	if len(served) == 0 {
		sentence = "its features serve no type"
	}
	return strings.Join(append([]string{sentence}, others...), "; ")
}

// resume takes over what is known about the same action: which features have acknowledged it. If
// another process has stored the acknowledgement, that is not known, and counts for all of them.
func (w *work) resume(before *work) {
	if before == nil || before.id != w.id || w.isAcknowledged && !before.isAcknowledged {
		for i := range w.parts {
			w.parts[i].isAcknowledged = w.isAcknowledged
		}
		return
	}
	w.isAcknowledged = w.isAcknowledged || before.isAcknowledged
	for i := range w.parts {
		for _, p := range before.parts {
			if p.feature == w.parts[i].feature {
				w.parts[i].isAcknowledged = p.isAcknowledged
			}
		}
	}
}

// isPartlyAcknowledged reports whether some features have acknowledged their commands, and others
// have not.
func (w *work) isPartlyAcknowledged() bool {
	if w == nil || w.isClosed {
		return false
	}
	n := 0
	for _, p := range w.parts {
		if p.isAcknowledged {
			n++
		}
	}
	return n > 0 && n < len(w.parts)
}

// partOf returns the part of a feature, or nil.
func (w *work) partOf(feature string) *part {
	for i := range w.parts {
		if w.parts[i].feature == feature {
			return &w.parts[i]
		}
	}
	return nil
}

// subject returns the operation that starts the work.
func subject(d deviceapi.Deployment) string {
	switch {
	case len(d.Remove) > 0:
		return wire.Remove
	case d.DownloadOnly:
		return wire.Download
	}
	return wire.Install
}

// command returns the value of the command for a part.
func (s *Server) command(device deviceapi.Device, d deviceapi.Deployment, p part) any {
	weight := d.Weight
	if len(p.remove) > 0 {
		return wire.RemoveAction{CorrelationID: correlationID(d.ID), Software: dependencies(p.remove), Weight: &weight, Metadata: metadataOf(d.Metadata), Forced: d.Forced}
	}
	a := wire.UpdateAction{CorrelationID: correlationID(d.ID), Weight: &weight, Metadata: metadataOf(d.Metadata), Forced: d.Forced, Modules: []wire.ModuleAction{}}
	for _, m := range p.modules {
		made := wire.ModuleAction{Module: wire.ModuleID{Name: m.Name, Version: m.Version}, Metadata: metadataOf(m.Metadata)}
		for _, file := range m.Artifacts {
			made.Artifacts = append(made.Artifacts, s.artifact(device, m.ID, file))
		}
		a.Modules = append(a.Modules, made)
	}
	return a
}

// cancel returns the value of the cancel of a part: that of its command without artifacts.
func cancel(d deviceapi.Deployment, p part) any {
	if len(p.remove) > 0 {
		return wire.RemoveAction{CorrelationID: correlationID(d.ID), Software: dependencies(p.remove)}
	}
	a := wire.UpdateAction{CorrelationID: correlationID(d.ID), Modules: []wire.ModuleAction{}}
	for _, m := range p.modules {
		a.Modules = append(a.Modules, wire.ModuleAction{Module: wire.ModuleID{Name: m.Name, Version: m.Version}})
	}
	return a
}

const md5Suffix = ".MD5SUM"

// artifact returns a file with its checksums and links. A file that the device API sends itself has
// one link, with the protocol of that.
func (s *Server) artifact(device deviceapi.Device, moduleID string, file deviceapi.Artifact) wire.ArtifactAction {
	a := wire.ArtifactAction{FileName: file.FileName, Size: file.Size, Download: map[string]wire.Links{}, Checksums: map[string]string{}}
	for name, sum := range map[string]string{"SHA1": file.SHA1, "MD5": file.MD5, "SHA256": file.SHA256} {
		if sum != "" {
			a.Checksums[name] = sum
		}
	}
	sumURL := ""
	if file.MD5 != "" {
		sumURL = s.urlOf(device, moduleID, file.FileName+md5Suffix)
	}
	if file.Proxied {
		if link := s.urlOf(device, moduleID, file.FileName); link != "" {
			scheme, _, _ := strings.Cut(link, "://")
			a.Download[strings.ToUpper(scheme)] = wire.Links{URL: link, MD5URL: sumURL}
		}
		return a
	}
	for _, d := range file.Downloads {
		if _, ok := a.Download[string(d.Protocol)]; ok {
			continue // the first one is preferred
		}
		links := wire.Links{URL: d.URL, MD5URL: d.MD5URL}
		if links.MD5URL == "" {
			links.MD5URL = sumURL
		}
		a.Download[string(d.Protocol)] = links
	}
	return a
}

func (s *Server) urlOf(device deviceapi.Device, moduleID, fileName string) string {
	if s.fileURL == nil {
		return ""
	}
	return s.fileURL(device, moduleID, fileName)
}

func metadataOf(entries []deviceapi.Metadata) map[string]string {
	if len(entries) == 0 {
		return nil
	}
	byKey := make(map[string]string, len(entries))
	for _, e := range entries {
		byKey[e.Key] = e.Value
	}
	return byKey
}

func dependencies(software []deviceapi.Software) []wire.Dependency {
	list := make([]wire.Dependency, 0, len(software))
	for _, s := range software {
		list = append(list, wire.Dependency{Group: s.Group, Name: s.Name, Version: s.Version, Type: s.Type})
	}
	return list
}
