// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package ddi

import (
	"net/url"
	"strconv"
	"strings"

	"github.com/goshawk-dev/goshawk/internal/ddi/wire"
	"github.com/goshawk-dev/goshawk/internal/deviceapi"
)

const md5Suffix = ".MD5SUM"

// baseOf writes the answer to a state. Every link is absolute.
func (v *visit) baseOf(state deviceapi.State) wire.Base {
	document := wire.Base{Config: wire.Config{Polling: wire.Polling{Sleep: wire.Sleep(state.Sleep)}}}
	links := &document.Links
	switch {
	case state.CancelID != 0:
		links.CancelAction = v.action("/cancelAction/", state.CancelID)
	case state.ConfirmID != 0:
		links.ConfirmationBase = v.offered("/confirmationBase/", state.ConfirmID, state.CacheBuster)
	case state.DeployID != 0:
		links.DeploymentBase = v.offered("/deploymentBase/", state.DeployID, state.CacheBuster)
	}
	if state.InstalledID != 0 {
		links.InstalledBase = v.action("/installedBase/", state.InstalledID)
	}
	if state.WantAttributes {
		links.ConfigData = wire.Link{Href: v.root() + "/configData"}
	}
	return document
}

func (v *visit) action(path string, id int32) wire.Link { return v.offered(path, id, "") }

// offered returns the link to an offered action. Its URL changes with the content of the action.
func (v *visit) offered(path string, id int32, cacheBuster string) wire.Link {
	query := ""
	if cacheBuster != "" {
		query = "?c="
	}
	var digits [10]byte // a part of the link, so that the link is the only allocation
	return wire.Link{Href: v.root() + path + string(strconv.AppendInt(digits[:0], int64(id), 10)) + query + url.QueryEscape(cacheBuster)}
}

// root returns the URL of the device, with which all its links start.
func (v *visit) root() string {
	if v.rootURL == "" {
		var space [256]byte
		v.rootURL = string(wire.AppendRootPath(append(space[:0], v.origin.base...), v.PathValue("tenant"), v.device.ControllerID)) // the tenant as the device writes it
	}
	return v.rootURL
}

// fileURL returns the URL of a file at the device API. The tenant DEFAULT is in capitals in it, as
// hawkBit writes it: Zephyr's client up to 3.6 polls with the tenant in small letters, and searches
// the links of files for /DEFAULT/controller/v1.
func (v *visit) fileURL(moduleID, fileName string) string {
	tenant := v.PathValue("tenant")
	if strings.EqualFold(tenant, defaultTenant) {
		tenant = "DEFAULT"
	}
	return filePath(v.origin.base, tenant, v.device.ControllerID, moduleID, fileName)
}

// filePath returns the URL of a file below a base URL.
func filePath(base, tenant, controllerID, moduleID, fileName string) string {
	return base + wire.RootPath(tenant, controllerID) + "/softwaremodules/" + url.PathEscape(moduleID) + "/artifacts/" + url.PathEscape(fileName)
}

// deploymentBaseOf returns one action, with the requested number of messages.
func (v *visit) deploymentBaseOf(d deviceapi.Deployment, messages int) wire.DeploymentBase {
	chunks := make(wire.List[wire.Chunk], 0, len(d.Modules)+len(d.Remove))
	for _, module := range d.Modules {
		chunks = append(chunks, v.chunkOf(module))
	}
	for _, software := range d.Remove {
		chunks = append(chunks, removalChunk(software))
	}
	download, update := handlingOf(d)
	window := maintenanceWindow(d.Window)
	if d.DownloadOnly { // RAUC's client would wait for a window in which it gets another update than skip
		window = ""
	}
	return wire.DeploymentBase{
		ID: strconv.Itoa(int(d.ID)),
		Deployment: wire.Deployment{
			Download: download, Update: update, MaintenanceWindow: window, Chunks: chunks,
		},
		ActionHistory: newest(d.History, messages),
	}
}

// handlingOf returns how the device treats the download and the installation. Outside of the
// maintenance window update is not skip, as it is in hawkBit: an action starts only inside its
// window, and a device that gets skip aborts what it has started, or closes the action without
// having installed anything.
func handlingOf(d deviceapi.Deployment) (download, update wire.Handling) {
	download, update = wire.HandlingAttempt, wire.HandlingAttempt
	if d.Forced {
		download, update = wire.HandlingForced, wire.HandlingForced
	}
	if d.DownloadOnly {
		update = wire.HandlingSkip
	}
	return download, update
}

// maintenanceWindow returns a window as DDI writes it; empty: the action has none.
func maintenanceWindow(w deviceapi.Window) wire.MaintenanceWindow {
	switch w {
	case deviceapi.WindowOpen:
		return wire.WindowAvailable
	case deviceapi.WindowClosed:
		return wire.WindowUnavailable
	default:
		return ""
	}
}

// newest returns the newest messages of a history; nil: the device asked for none.
func newest(h deviceapi.History, messages int) *wire.ActionHistory {
	if messages == 0 {
		return nil
	}
	return &wire.ActionHistory{Status: statusOf(h.State), Messages: h.Messages[:min(messages, len(h.Messages))]}
}

// statusOf returns the state of an action as hawkBit writes it.
func statusOf(state string) string {
	switch state {
	case "WaitingForConfirmation":
		return "WAIT_FOR_CONFIRMATION"
	case "Downloading":
		return "DOWNLOAD"
	case "Installing", "Removing":
		return "RUNNING"
	}
	return strings.ToUpper(state)
}

func (v *visit) chunkOf(module deviceapi.Module) wire.Chunk {
	return wire.Chunk{
		Part: wire.PartOf(module.Type), Version: module.Version, Name: module.Name,
		Artifacts: v.artifactsOf(module), Metadata: metadataOf(module),
	}
}

// metadataOf returns the metadata of a module as DDI writes it.
func metadataOf(module deviceapi.Module) []wire.Metadata {
	var entries []wire.Metadata
	for _, e := range module.Metadata {
		entries = append(entries, wire.Metadata{Key: e.Key, Value: e.Value})
	}
	return entries
}

func (v *visit) artifactsOf(module deviceapi.Module) wire.List[wire.Artifact] {
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

// artifactLinks returns both relations whatever the protocol, because some clients know only one of
// them.
func (v *visit) artifactLinks(moduleID string, file deviceapi.Artifact) wire.ArtifactLinks {
	if file.Proxied {
		link, sum := wire.Link{Href: v.fileLink(moduleID, file.FileName)}, wire.Link{}
		if file.MD5 != "" {
			sum.Href = v.fileLink(moduleID, file.FileName+md5Suffix)
		}
		return wire.ArtifactLinks{Download: link, DownloadHTTP: link, MD5Sum: sum, MD5SumHTTP: sum}
	}
	secure, plain := downloadOf(file, deviceapi.HTTPS, deviceapi.HTTP), downloadOf(file, deviceapi.HTTP, deviceapi.HTTPS)
	return wire.ArtifactLinks{
		Download: wire.Link{Href: secure.URL}, DownloadHTTP: wire.Link{Href: plain.URL},
		MD5Sum: v.md5Sum(moduleID, file, secure), MD5SumHTTP: v.md5Sum(moduleID, file, plain),
	}
}

// md5Sum links to the checksum next to the file, or else to that of the device API.
func (v *visit) md5Sum(moduleID string, file deviceapi.Artifact, place deviceapi.Download) wire.Link {
	switch {
	case place.MD5URL != "":
		return wire.Link{Href: place.MD5URL}
	case file.MD5 == "":
		return wire.Link{}
	}
	return wire.Link{Href: v.fileURL(moduleID, file.FileName+md5Suffix)}
}

// downloadOf returns the first download with the first of the protocols that any download has.
// Without one it returns the first download; it is empty if there is none.
func downloadOf(a deviceapi.Artifact, protocols ...deviceapi.Protocol) deviceapi.Download {
	for _, protocol := range protocols {
		for _, place := range a.Downloads {
			if place.Protocol == protocol {
				return place
			}
		}
	}
	if len(a.Downloads) == 0 {
		return deviceapi.Download{}
	}
	return a.Downloads[0]
}
