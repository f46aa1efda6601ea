// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"net/url"
	"strconv"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
)

const md5Suffix = ".MD5SUM"

// baseOf writes the answer to a poll. Every link is absolute.
func (v *visit) baseOf(poll Poll) wire.Base {
	document := wire.Base{Config: wire.Config{Polling: wire.Polling{Sleep: wire.Sleep(poll.Sleep)}}}
	links := &document.Links
	switch {
	case poll.CancelID != 0:
		links.CancelAction = v.action("/cancelAction/", poll.CancelID)
	case poll.ConfirmID != 0:
		links.ConfirmationBase = v.offered("/confirmationBase/", poll.ConfirmID, poll.CacheBuster)
	case poll.DeployID != 0:
		links.DeploymentBase = v.offered("/deploymentBase/", poll.DeployID, poll.CacheBuster)
	}
	if poll.InstalledID != 0 {
		links.InstalledBase = v.action("/installedBase/", poll.InstalledID)
	}
	if poll.WantAttributes {
		links.ConfigData = wire.Link{Href: v.root() + "/configData"}
	}
	return document
}

func (v *visit) action(path string, id int32) wire.Link {
	return wire.Link{Href: v.root() + path + strconv.Itoa(int(id))}
}

// offered links to what is on offer, by another URL whenever its content has changed.
func (v *visit) offered(path string, id int32, cacheBuster string) wire.Link {
	link := v.action(path, id)
	if cacheBuster != "" {
		link.Href += "?c=" + url.QueryEscape(cacheBuster)
	}
	return link
}

// root is where all links to this device's resources start.
func (v *visit) root() string {
	return v.origin.base + wire.RootPath(v.PathValue("tenant"), v.device.ControllerID) // the tenant as the device writes it
}

// deploymentBaseOf writes one action, with as many of its messages as wanted.
func (v *visit) deploymentBaseOf(d Deployment, messages int) wire.DeploymentBase {
	chunks := make(wire.List[wire.Chunk], len(d.Chunks))
	for i, module := range d.Chunks {
		chunks[i] = v.chunkOf(module)
	}
	return wire.DeploymentBase{
		ID: strconv.Itoa(int(d.ID)),
		Deployment: wire.Deployment{
			Download: d.Download, Update: d.Update, MaintenanceWindow: d.Window, Chunks: chunks,
		},
		ActionHistory: d.History.newest(messages),
	}
}

func (h *History) newest(messages int) *wire.ActionHistory {
	if h == nil || messages == 0 {
		return nil
	}
	return &wire.ActionHistory{Status: h.Status, Messages: h.Messages[:min(messages, len(h.Messages))]}
}

func (v *visit) chunkOf(module Module) wire.Chunk {
	return wire.Chunk{
		Part: wire.PartOf(module.Part), Version: module.Version, Name: module.Name,
		Artifacts: v.artifactsOf(module), Metadata: module.Metadata,
	}
}

func (v *visit) artifactsOf(module Module) wire.List[wire.Artifact] {
	files := make(wire.List[wire.Artifact], len(module.Artifacts))
	for i, file := range module.Artifacts {
		files[i] = wire.Artifact{
			Filename: file.FileName, Size: file.Size,
			Hashes: wire.Hashes{SHA1: file.SHA1, MD5: file.MD5, SHA256: file.SHA256},
			Links:  v.artifactLinks(module.ID, file),
		}
	}
	return files
}

// artifactLinks writes both relations whatever the protocol: some clients know
// only one of them.
func (v *visit) artifactLinks(moduleID string, file Artifact) wire.ArtifactLinks {
	secure, plain := file.from(HTTPS, HTTP), file.from(HTTP, HTTPS)
	return wire.ArtifactLinks{
		Download: wire.Link{Href: secure.URL}, DownloadHTTP: wire.Link{Href: plain.URL},
		MD5Sum: v.md5Sum(moduleID, file, secure), MD5SumHTTP: v.md5Sum(moduleID, file, plain),
	}
}

// md5Sum links to the sum beside the file, or else to the device API's own.
func (v *visit) md5Sum(moduleID string, file Artifact, place Download) wire.Link {
	switch {
	case place.MD5URL != "":
		return wire.Link{Href: place.MD5URL}
	case file.MD5 == "":
		return wire.Link{}
	}
	return wire.Link{Href: v.root() + "/softwaremodules/" + url.PathEscape(moduleID) +
		"/artifacts/" + url.PathEscape(file.FileName+md5Suffix)}
}

// from is the first place with the first of the protocols that any has, or
// else the first place; empty if there is none.
func (a Artifact) from(protocols ...Protocol) Download {
	for _, protocol := range protocols {
		for _, place := range a.Downloads {
			if place.Protocol == protocol {
				return place
			}
		}
	}
	if len(a.Downloads) == 0 {
		return Download{}
	}
	return a.Downloads[0]
}
