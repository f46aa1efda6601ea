// Copyright The Goshawk Authors.
// SPDX-License-Identifier: Apache-2.0

package stories

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/goshawk-dev/goshawk/api/v1alpha1"
	"github.com/goshawk-dev/goshawk/internal/devicesim"
	"github.com/goshawk-dev/goshawk/test/world"
)

// All devices have one address, as behind an ingress. A client without a token sends from there as
// many requests as it can: polls and results with wrong tokens, for existing and for other devices.
// Every device finishes its rollout, no request of a device is refused, and responses stay fast.
func TestWrongCredentialsFromTheAddressOfTheFleet(t *testing.T) {
	w := world.New(t)
	w.Set("firmware-1", "1.0")
	names := w.Targets("device", 200, nil)
	timed := &world.TimedTransport{RoundTripper: &http.Transport{MaxIdleConnsPerHost: 64}}
	fleet, devices := w.Play(func(c *devicesim.Config) { c.Transport, c.PollInterval = timed, time.Second }, devicesim.Obedient, names...)
	w.EventuallyPolled(devices, 1, time.Time{}, names...)

	flooding, stop := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]int{}
	for i := range 4 {
		flood.Go(func() {
			for n := i; flooding.Err() == nil; n += 4 {
				path := fmt.Sprintf("/%s/controller/v1/%s", w.Namespace, []string{names[n%len(names)], fmt.Sprint("unknown-", n), names[0]}[n%3])
				request := "GET " + path + " HTTP/1.1\r\n"
				body := ""
				if n%2 == 0 {
					body = `{"status":{"execution":"closed","result":{"finished":"failure"}}}`
					request = fmt.Sprintf("POST %s/deploymentBase/1/feedback HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n", path, len(body))
				}
				status := attack(strings.TrimPrefix(w.DeviceAPI, "http://"), request+"Host: devices.example\r\nAuthorization: TargetToken guess\r\n\r\n"+body)
				mu.Lock()
				answers[status]++
				mu.Unlock()
			}
		})
	}
	w.ApplySpec("Rollout", "firmware-1", `{update: {distributionSet: firmware-1}, stabilizationSeconds: 1, groupCount: 2}`)
	r := w.EventuallyRollout("firmware-1", "finishes", world.InState(v1alpha1.RolloutFinished))
	stop()
	flood.Wait()
	startedOnce(t, devices, names...)
	succeeded := int32(0)
	for _, g := range r.Status.Groups {
		succeeded += g.Counts.Succeeded
	}
	if succeeded != 200 {
		t.Errorf("%d devices have succeeded", succeeded)
	}
	if s := fleet.Stats(); s.HTTPErrors > 0 {
		t.Errorf("%d requests of devices failed, the last one: %s", s.HTTPErrors, s.LastError)
	}
	if answers["429"] < 10*answers["401"] || answers["429"] < 1000 {
		t.Errorf("the responses to wrong credentials are %v", answers)
	}
	polls, results := timed.Sorted()
	t.Logf("responses to wrong credentials %v; %d polls: median %s, slowest %s; %d reports: median %s, slowest %s", answers,
		len(polls), polls[len(polls)/2], polls[len(polls)-1], len(results), results[len(results)/2], results[len(results)-1])
	for what, took := range map[string][]time.Duration{"polls": polls, "reports": results} {
		if usual := took[len(took)/2]; usual > 250*time.Millisecond { // the slowest ones wait for writes, also without wrong credentials
			t.Errorf("half of the %s took %s or more", what, usual)
		}
	}
}

// attack sends one request on a new connection and returns the status of the response. It resets
// the connection, so that no port of this machine stays in use.
func attack(address, request string) string {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return "no connection"
	}
	defer conn.Close()
	_ = conn.(*net.TCPConn).SetLinger(0)
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	if _, err := io.WriteString(conn, request); err != nil {
		return "not sent"
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if fields := strings.Fields(line); err == nil && len(fields) > 1 {
		return fields[1]
	}
	return "no answer"
}
