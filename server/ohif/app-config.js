// Settings of OHIF for this server: every address is on the server's own origin.
'use strict';

(function () {
  // The server answers both spellings; the viewer knows its own address by the slash alone.
  if (location.pathname === '/ohif') {
    location.replace('/ohif/' + location.search);
  }

  const PANEL = '@ohif/extension-cornerstone.panelModule.panelSegmentationWithTools';
  const NOTICE = 'caclabel · for research use only, not for diagnosis or treatment';
  // Calcium begins at 130 HU; nothing in a CT is brighter than 3071 HU.
  const CALCIUM_HU = [130, 3071];
  const BRUSH_RADIUS_MM = 2;

  // The panel of MONAI Label takes its server from this cookie. A server on another port of
  // this host may have left its own, so it is set anew with each page.
  document.cookie =
    'MONAILABEL_SERVER_URL=' + encodeURIComponent(location.origin + '/') + '; path=/ohif; samesite=strict';

  function radius(id, toolNames) {
    return {
      id: id,
      name: 'Radius (mm)',
      type: 'range',
      min: 0.5,
      max: 30,
      step: 0.5,
      value: BRUSH_RADIUS_MM,
      commands: { commandName: 'setBrushSize', commandOptions: { toolNames: toolNames } },
    };
  }

  function shape(id, toolNames) {
    return {
      id: id,
      name: 'Shape',
      type: 'radio',
      value: toolNames[0],
      values: [
        { value: toolNames[0], label: 'Circle' },
        { value: toolNames[1], label: 'Sphere' },
      ],
      commands: 'setToolActiveToolbar',
    };
  }

  function hounsfieldRange(toolNames) {
    return {
      id: 'calcium-range',
      name: 'HU',
      type: 'double-range',
      min: -200,
      max: CALCIUM_HU[1],
      step: 1,
      value: CALCIUM_HU,
      commands: { commandName: 'setThresholdRange', commandOptions: { toolNames: toolNames } },
    };
  }

  function tool(id, label, icon, toolNames, moreOptions) {
    return {
      id: id,
      label: label,
      icon: icon,
      evaluate: { name: 'evaluate.cornerstone.segmentation', toolNames: toolNames },
      options: [radius(id + '-radius', toolNames), shape(id + '-shape', toolNames)].concat(moreOptions),
    };
  }

  const CALCIUM_TOOLS = ['ThresholdCircularBrush', 'ThresholdSphereBrush'];
  const SHAPE_TOOLS = ['CircleScissor', 'SphereScissor', 'RectangleScissor'];
  const BUTTONS = [
    {
      id: 'BrushTools',
      uiType: 'ohif.buttonGroup',
      props: {
        groupId: 'BrushTools',
        items: [
          tool('Calcium', 'Calcium brush', 'icon-tool-threshold', CALCIUM_TOOLS, [
            hounsfieldRange(CALCIUM_TOOLS),
          ]),
          tool('Brush', 'Brush', 'icon-tool-brush', ['CircularBrush', 'SphereBrush'], []),
          tool('Eraser', 'Eraser', 'icon-tool-eraser', ['CircularEraser', 'SphereEraser'], []),
        ],
      },
    },
    // The mode names this button, and its panel fails without it.
    {
      id: 'Shapes',
      uiType: 'ohif.radioGroup',
      props: {
        label: 'Shapes',
        icon: 'icon-tool-shape',
        evaluate: { name: 'evaluate.cornerstone.segmentation', toolNames: SHAPE_TOOLS },
        options: [
          {
            id: 'scissors',
            name: 'Shape',
            type: 'radio',
            value: SHAPE_TOOLS[0],
            values: SHAPE_TOOLS.map(function (name) {
              return { value: name, label: name.replace('Scissor', '') };
            }),
            commands: 'setToolActiveToolbar',
          },
        ],
      },
    },
  ];

  // Each artery has its hue; its region is the same, dimmer.
  const COLORS = {
    LM: [255, 90, 255],
    LAD: [255, 70, 60],
    LCX: [60, 160, 255],
    RCA: [80, 230, 90],
  };

  function colorOf(label) {
    const artery = label.replace('_region', '');
    const strength = label === artery ? 1 : 0.55;
    const color = COLORS[artery];
    return color && color.map((value) => Math.round(value * strength)).concat(255);
  }

  function paint(services, segmentationId) {
    const segmentations = services.segmentationService;
    const segmentation = segmentations.getSegmentation(segmentationId);
    for (const viewportId of services.viewportGridService.getState().viewports.keys()) {
      if (!segmentations.getSegmentationRepresentations(viewportId, { segmentationId }).length) {
        continue;
      }
      for (const segment of Object.values(segmentation.segments)) {
        const color = colorOf(segment.label);
        if (color) {
          segmentations.setSegmentColor(viewportId, segmentationId, segment.segmentIndex, color);
        }
      }
    }
  }

  // A segment without voxels is part of the label all the same: no calcium means none was found.
  function addEmptySegments(dataset, segmentation) {
    const given = [].concat(dataset.SegmentSequence);
    const numbers = new Set(given.map((item) => Number(item.SegmentNumber)));
    const empty = Object.values(segmentation.segments)
      .filter((segment) => !numbers.has(segment.segmentIndex) && colorOf(segment.label))
      .map((segment) => ({
        ...given[0],
        SegmentNumber: segment.segmentIndex,
        SegmentLabel: segment.label,
      }));
    dataset.SegmentSequence = given.concat(empty);
  }

  // Tell whether every frame shows what the labelmap has at the frame's own position.
  function agrees(dataset, volume) {
    const pixels = dataset.PixelData;
    const bits = new Uint8Array(pixels.buffer || pixels);
    const voxels = volume.voxelManager.getCompleteScalarDataArray();
    const [columns, rows] = volume.dimensions;
    const size = columns * rows;
    const normal = Array.from(volume.direction).slice(6, 9);
    return [].concat(dataset.PerFrameFunctionalGroupsSequence).every((group, frame) => {
      const position = [].concat(group.PlanePositionSequence)[0].ImagePositionPatient;
      const number = [].concat(group.SegmentIdentificationSequence)[0].ReferencedSegmentNumber;
      const offset = normal.reduce(
        (sum, part, axis) => sum + part * (position[axis] - volume.origin[axis]),
        0
      );
      const slice = Math.round(offset / volume.spacing[2]);
      for (let index = 0; index < size; index++) {
        const at = frame * size + index;
        const bit = (bits[at >> 3] >> (at & 7)) & 1;
        if (bit !== Number(voxels[slice * size + index] === Number(number))) {
          return false;
        }
      }
      return true;
    });
  }

  // OHIF 3.10.0-beta.5 writes the slices of a labelmap in the reverse of the order in which it
  // names their positions: the order is turned for the time of writing, and the result checked.
  function generate(context, segmentation) {
    const segmentationId = segmentation.segmentationId;
    const services = context.servicesManager.services;
    const volume = services.segmentationService.getLabelmapVolume(segmentationId);
    const labelmap = segmentation.representationData.Labelmap;
    const given = labelmap.imageIds;
    try {
      for (const order of [given, given.slice().reverse()]) {
        labelmap.imageIds = order;
        const { dataset } = context.commandsManager.runCommand('generateSegmentation', {
          segmentationId,
          options: { SeriesDescription: 'caclabel' },
        });
        if (agrees(dataset, volume)) {
          return dataset;
        }
      }
    } finally {
      labelmap.imageIds = given;
    }
    throw new Error('this build of OHIF puts slices in the wrong place');
  }

  // The viewer knows no user: who saves is named in its address, ?client_id=NAME, once a browser.
  function annotator() {
    const given = new URLSearchParams(location.search).get('client_id');
    if (given) {
      localStorage.setItem('caclabel.client_id', given);
    }
    return localStorage.getItem('caclabel.client_id');
  }
  annotator();

  function reasonOf(error) {
    const request = error && error.request;
    const warning = request && request.getResponseHeader && request.getResponseHeader('Warning');
    const words = warning && warning.match(/"(.*)"/);
    return words ? words[1] : (error && error.message) || 'the server did not answer';
  }

  function saving(context) {
    const { servicesManager, extensionManager } = context;
    const { segmentationService, uiNotificationService } = servicesManager.services;

    function tell(type, message) {
      uiNotificationService.show({ title: 'Save label', message, type, duration: 6000 });
    }

    return async function saveLabel({ segmentationId } = {}) {
      const all = segmentationService.getSegmentations();
      const segmentation = segmentationId
        ? segmentationService.getSegmentation(segmentationId)
        : all[all.length - 1];
      if (!segmentation) {
        tell('warning', 'Connect the panel of MONAI Label first: it brings the segments.');
        return;
      }
      try {
        const dataset = generate(context, segmentation);
        addEmptySegments(dataset, segmentation);
        if (annotator()) {
          dataset.ContentCreatorName = annotator();
        }
        await extensionManager.getActiveDataSource()[0].store.dicom(dataset);
        tell('success', 'The label is saved on the server.');
      } catch (error) {
        tell('error', 'The label is not saved: ' + reasonOf(error));
      }
    };
  }

  function refuseDownload(services) {
    services.uiNotificationService.show({
      title: 'Download',
      message: 'This build of OHIF would reverse the slices. Save the label and take it from the server.',
      type: 'warning',
      duration: 8000,
    });
  }

  const SAVE_BUTTON = {
    id: 'SaveLabel',
    uiType: 'ohif.radioGroup',
    props: {
      icon: 'icon-upload',
      label: 'Save label',
      tooltip: 'Save label',
      commands: 'saveLabel',
      evaluate: 'evaluate.action',
    },
  };

  function isMonaiLabel() {
    return location.pathname.endsWith('/monai-label');
  }

  const NEXT_SAMPLE = /\/activelearning\/[^/]+$/;
  const CLICK_MODEL = /\/infer\/(lesion_click|lesion_assign)\b/;
  const ARTERIES = Object.keys(COLORS);

  // Tell which row of the point prompts is chosen; the panel keeps that to itself.
  function chosenLabel() {
    const rows = Array.from(document.querySelectorAll('.monaiLabelPanel tr.clickable-row'));
    const row = rows.find((one) => ['darkblue', 'darkred'].includes(one.style.backgroundColor));
    return row ? row.textContent : 'nothing';
  }

  function withLabel(body) {
    const params = JSON.parse(body.get('params'));
    body.set('params', JSON.stringify({ ...params, label: chosenLabel() }));
    return body;
  }

  // The panel asks for its next sample in nobody's name, and all browsers would share its leases.
  function withAnnotator(body) {
    return JSON.stringify({ ...JSON.parse(body || '{}'), client_id: annotator() });
  }

  // The panel draws an answer only where no other segment is: a lesion inside a region, or in
  // the wrong artery, would stay what it was without a word. So its place is cleared before.
  // Of lesion_assign it draws one artery alone: that answer is put on what was there instead.
  function clickAnswers(services) {
    let whole = null;

    function volume() {
      return services.segmentationService.getLabelmapVolume('1');
    }

    function prepare(model, answer) {
      const voxels = volume().voxelManager.getCompleteScalarDataArray().slice();
      const mask = new Uint8Array(answer).slice(-voxels.length);
      const segments = Object.values(services.segmentationService.getSegmentation('1').segments);
      const numbers = ARTERIES.map((name) => segments.find((one) => one.label === name).segmentIndex);
      const isAssigned = model === 'lesion_assign';
      mask.forEach((value, index) => {
        if (value) {
          voxels[index] = isAssigned ? numbers[value - 1] : 0;
        }
      });
      whole = isAssigned ? voxels : null;
      if (!isAssigned) {
        volume().voxelManager.setCompleteScalarDataArray(voxels);
      }
    }

    function explain(answer) {
      const { detail } = JSON.parse(new TextDecoder().decode(answer));
      services.uiNotificationService.show({
        title: 'Point Prompts',
        message: String(detail),
        type: 'error',
        duration: 8000,
      });
    }

    function sendChanged(request, change) {
      const send = request.send.bind(request);
      request.send = (body) => send(change(body));
    }

    function watch(request, model) {
      if (model === 'lesion_click') {
        sendChanged(request, withLabel);
      }
      request.addEventListener('load', () =>
        request.status === 200 ? prepare(model, request.response) : explain(request.response)
      );
    }

    const open = XMLHttpRequest.prototype.open;
    XMLHttpRequest.prototype.open = function (method, url, ...rest) {
      const model = isMonaiLabel() && String(url).match(CLICK_MODEL);
      if (model) {
        watch(this, model[1]);
      } else if (isMonaiLabel() && NEXT_SAMPLE.test(url) && annotator()) {
        sendChanged(this, withAnnotator);
      }
      return open.call(this, method, url, ...rest);
    };

    return function finish() {
      if (whole) {
        volume().voxelManager.setCompleteScalarDataArray(whole);
        whole = null;
      }
    };
  }

  // The mode of MONAI Label can neither edit nor save what its panel brings: this extension
  // adds the panel of segmentations, and a button that stores them to the server.
  let finishClick = () => {};
  const savingExtension = {
    id: 'caclabel.extension-saving',
    preRegistration: function (context) {
      finishClick = clickAnswers(context.servicesManager.services);
      const toolbar = context.servicesManager.services.toolbarService;
      const create = toolbar.createButtonSection.bind(toolbar);
      toolbar.createButtonSection = function (key, buttons) {
        const more = key === 'primary' && isMonaiLabel() ? ['SaveLabel'] : [];
        create(key, buttons.concat(more));
      };
    },
    getCommandsModule: function (context) {
      return { definitions: { saveLabel: { commandFn: saving(context) } }, defaultContext: 'CACLABEL' };
    },
    onModeEnter: function (context) {
      if (!isMonaiLabel()) {
        return;
      }
      const services = context.servicesManager.services;
      const segmentations = services.segmentationService;
      services.toolbarService.addButtons(BUTTONS.concat(SAVE_BUTTON));
      services.panelService.addPanel(services.panelService.PanelPosition.Right, PANEL);
      segmentations.subscribe(segmentations.EVENTS.SEGMENTATION_DATA_MODIFIED, (event) => {
        finishClick();
        paint(services, event.segmentationId);
      });
      // The menu of the panel stores to no data source, and downloads slices in reverse order.
      for (const commands of Object.values(context.commandsManager.contexts)) {
        if (commands.storeSegmentation) {
          commands.storeSegmentation = { commandFn: saving(context) };
        }
        if (commands.downloadSegmentation) {
          commands.downloadSegmentation = { commandFn: () => refuseDownload(services) };
        }
      }
    },
  };

  function notice(React) {
    return React.createElement(
      'div',
      { className: 'text-white', style: { fontSize: '13px', whiteSpace: 'nowrap' } },
      NOTICE
    );
  }

  window.config = {
    routerBasename: '/ohif/',
    showStudyList: true,
    extensions: [savingExtension],
    modes: [],
    showWarningMessageForCrossOrigin: true,
    showCPUFallbackMessage: false,
    showLoadingIndicator: true,
    strictZSpacingForVolumeViewport: true,
    useSharedArrayBuffer: 'FALSE',
    investigationalUseDialog: { option: 'always' },
    whiteLabeling: { createLogoComponentFn: notice },
    defaultDataSourceName: 'dicomweb',
    dataSources: [
      {
        namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
        sourceName: 'dicomweb',
        configuration: {
          friendlyName: 'Images of this server',
          name: 'caclabel',
          qidoRoot: '/proxy/dicom/qido',
          wadoRoot: '/proxy/dicom/wado',
          wadoUriRoot: '/proxy/dicom/wado',
          qidoSupportsIncludeField: true,
          supportsReject: false,
          supportsFuzzyMatching: true,
          supportsWildcard: true,
          imageRendering: 'wadors',
          thumbnailRendering: 'wadors',
          enableStudyLazyLoad: true,
          dicomUploadEnabled: false,
          bulkDataURI: { enabled: true },
        },
      },
    ],
  };
})();
